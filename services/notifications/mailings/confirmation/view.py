"""The content of a confirmation before it is rendered: acts, buttons, links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from services.notifications.domain.acts import Act, Button, group_acts
from services.notifications.mailings.confirmation.wording import Sentence, Wording, load_wording
from services.notifications.sender.compose.wording import choose_language, display_name, localize
from services.notifications.settings import Settings
from shared.catalog import Catalog
from shared.errors import TransientError
from shared.privacy.receipts import short_receipt
from shared.privacy.tokens import ActToken, TokenAct, TokenPurpose, sign

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class ButtonView:
    """A button with the sentences about what it confirms, and the receipt where that is one act.

    A button for other data comes after the others, and its `withdraw` is empty: all versions of an act are withdrawn
    together, so the link of a stranger's version would withdraw the person's own.
    """

    sentences: tuple[Sentence, ...]
    receipt: Sentence | None
    label: str
    confirm: str
    withdraw: str
    other_data: bool


@dataclass(frozen=True, slots=True)
class ConfirmationView:
    """A whole mail. `language` is a code."""

    language: str
    subject: str
    greeting: str
    greets_by_name: bool
    buttons: tuple[ButtonView, ...]
    thanks: str
    organisation: str
    imprint: str

    @property
    def single(self) -> bool:
        """Whether the mail is about one act only."""
        return len(self.buttons) == 1 and len(self.buttons[0].sentences) == 1


class ConfirmationViewBuilder:
    """Builds views from acts and the catalog."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._catalog = catalog
        self._settings = settings

    def build(self, acts: Sequence[Act], locale: str, planned_at: datetime) -> ConfirmationView:
        """Build the view of a mail that covers `acts`, planned at `planned_at`, for a person who acted in `locale`.

        Raises:
            TransientError: the catalog does not hold a campaign, a case or a key yet.
        """
        buttons = group_acts(acts)
        campaigns = [_known(self._catalog.campaigns, button.campaign) for button in buttons]
        wording = load_wording(choose_language(locale, campaigns[0].languages))
        versions = {act.key for act in acts if act.other_data}
        button_views = tuple(self._button_view(button, wording, versions, planned_at) for button in buttons)
        cases = {act.case: _known(self._catalog.cases, act.case) for act in acts}
        case = next(iter(cases.values())) if len(cases) == 1 else None
        organisations = {campaign.organisation for campaign in campaigns}
        imprints = {", ".join(campaign.contact.address) if campaign.contact else "" for campaign in campaigns}
        safe = any(campaign.policies.safety_mode for campaign in campaigns)
        name = _greeting_name(acts)
        return ConfirmationView(
            language=wording.code,
            subject=_subject(wording, acts, "" if safe or case is None else case.name),
            greeting=wording.greeting(name),
            greets_by_name=bool(name),
            buttons=button_views,
            thanks=wording.thanks(case.name if case is not None else ""),
            organisation=(organisations.pop() if len(organisations) == 1 else "") or self._settings.mail_from_name,
            imprint=(imprints.pop() if len(imprints) == 1 else "") or self._settings.mail_imprint,
        )

    def _button_view(self, button: Button, wording: Wording, versions: set[bytes], planned_at: datetime) -> ButtonView:
        receipts = [short_receipt(self._token_key(act.campaign), *act.record) for act in button.acts]
        single = len(receipts) == 1
        sentences = tuple(
            wording.sentence(
                act.kind,
                self._title(act, wording.code),
                act.at,
                name=_full_name(act) if act.key in versions else "",
                receipt="" if single else receipt,
            )
            for act, receipt in zip(button.acts, receipts, strict=True)
        )
        if button.other_data:
            label = wording.label_for_other_data(_full_name(button.acts[0]))
        else:
            label = wording.label(signatures=button.for_signatures, count=len(sentences))
        return ButtonView(
            sentences=sentences,
            receipt=wording.receipt(receipts[0]) if single else None,
            label=label,
            confirm=self._link(button, "confirm", wording.code, planned_at),
            withdraw="" if button.other_data else self._link(button, "withdraw", wording.code, planned_at),
            other_data=button.other_data,
        )

    def _link(self, button: Button, purpose: TokenPurpose, language: str, planned_at: datetime) -> str:
        acts = tuple(
            TokenAct(
                topic=act.record.topic,
                case=act.case,
                subject=act.subject,
                key=act.key,
                digest=act.digest,
                partition=act.record.partition,
                offset=act.record.offset,
            )
            for act in button.acts
        )
        issued_at = int(planned_at.timestamp())
        act_token = ActToken(purpose=purpose, campaign=button.campaign, issued_at=issued_at, acts=acts)
        token = sign(act_token, self._token_key(button.campaign))
        base_url = self._settings.petitions_url if button.for_signatures else f"{self._settings.letters_url}/letters"
        return f"{base_url}/{purpose}/{token}?lang={language}"

    def _token_key(self, campaign: str) -> bytes:
        return _known(self._catalog.keys, campaign).token

    def _title(self, act: Act, code: str) -> str:
        case = _known(self._catalog.cases, act.case)
        if act.kind == "signature" and case.petition is not None:
            return localize(case.petition.title, code)
        return case.name


def _known(entries: Mapping[str, Entry], slug: str) -> Entry:
    """Return what the catalog has of a campaign or a case."""
    try:
        return entries[slug]
    except KeyError:
        raise TransientError("a campaign, a case or keys are not known yet") from None


def _subject(wording: Wording, acts: Sequence[Act], name: str) -> str:
    if len(acts) == 1 and name:
        return wording.subject_for_one(acts[0].kind, name)
    return wording.subject_for_many(len(acts))


def _full_name(act: Act) -> str:
    return display_name(f"{act.person.given_name} {act.person.family_name}")


def _greeting_name(acts: Sequence[Act]) -> str:
    """Return the given name where all acts agree on it, else an empty text: a stranger may have typed one of them."""
    names = {display_name(act.person.given_name) for act in acts}
    return names.pop() if len(names) == 1 else ""

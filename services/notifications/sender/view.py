"""What a mail says, before it is written out: acts, buttons, links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.notifications.domain.buttons import Act, Button, buttons
from services.notifications.sender.wording import Sentence, Wording, language_of, localized, shown_name, wording
from services.notifications.settings import Settings
from shared.catalog import Catalog
from shared.errors import TransientError
from shared.events.marathon import CampaignChanged, CaseChanged
from shared.privacy.receipts import short_receipt
from shared.privacy.tokens import ActToken, TokenAct, TokenPurpose, sign


@dataclass(frozen=True, slots=True)
class Choice:
    """A button with what it confirms, and the receipt where that is one act.

    One for other data stands back behind the others, and its `withdraw` is empty: all versions of an act are taken back
    together, so a stranger's version would offer to take away the person's own.
    """

    sentences: tuple[Sentence, ...]
    receipt: Sentence | None
    label: str
    confirm: str
    withdraw: str
    other_data: bool


@dataclass(frozen=True, slots=True)
class View:
    """A whole mail. `language` is a code; `personal` says that the person is greeted by name."""

    language: str
    subject: str
    greeting: str
    personal: bool
    choices: tuple[Choice, ...]
    thanks: str
    organisation: str
    imprint: str

    @property
    def single(self) -> bool:
        """Whether it is about one act only."""
        return len(self.choices) == 1 and len(self.choices[0].sentences) == 1


class Views:
    """Makes views from acts and the catalog."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._catalog = catalog
        self._settings = settings

    def of(self, acts: Sequence[Act], locale: str, planned_at: datetime) -> View:
        """The view of a mail that covers `acts`, planned at `planned_at`, for somebody who speaks `locale`.

        Raises:
            TransientError: the catalog does not hold a campaign, a case or a key yet.
        """
        pressed = buttons(acts)
        campaigns = [self._campaign(button.campaign) for button in pressed]
        words = wording(language_of(locale, campaigns[0].languages))
        versions = {act.key for act in acts if act.other_data}
        choices = tuple(self._choice(button, words, versions, planned_at) for button in pressed)
        cases = {act.case: self._case(act.case) for act in acts}
        case = next(iter(cases.values())) if len(cases) == 1 else None
        organisations = {campaign.organisation for campaign in campaigns}
        imprints = {", ".join(campaign.contact.address) if campaign.contact else "" for campaign in campaigns}
        safe = any(campaign.policies.safety_mode for campaign in campaigns)
        name = _greeted(acts)
        return View(
            language=words.code,
            subject=_subject(words, acts, "" if safe or case is None else case.name),
            greeting=words.greeting(name),
            personal=bool(name),
            choices=choices,
            thanks=words.thanks(case.name if case is not None else ""),
            organisation=(organisations.pop() if len(organisations) == 1 else "") or self._settings.mail_from_name,
            imprint=(imprints.pop() if len(imprints) == 1 else "") or self._settings.mail_imprint,
        )

    def _choice(self, button: Button, words: Wording, versions: set[bytes], planned_at: datetime) -> Choice:
        receipts = [self._receipt(act) for act in button.acts]
        alone = len(receipts) == 1
        sentences = tuple(
            words.sentence(
                act.kind,
                self._title(act, words.code),
                act.at,
                name=_full_name(act) if act.key in versions else "",
                receipt="" if alone else receipt,
            )
            for act, receipt in zip(button.acts, receipts, strict=True)
        )
        if button.other_data:
            label = words.label_of_other_data(_full_name(button.acts[0]))
        else:
            label = words.label(signatures=button.signatures, count=len(sentences))
        return Choice(
            sentences=sentences,
            receipt=words.receipt(receipts[0]) if alone else None,
            label=label,
            confirm=self._link(button, "confirm", words.code, planned_at),
            withdraw="" if button.other_data else self._link(button, "withdraw", words.code, planned_at),
            other_data=button.other_data,
        )

    def _link(self, button: Button, purpose: TokenPurpose, language: str, planned_at: datetime) -> str:
        acts = tuple(
            TokenAct(
                topic=act.place.topic,
                case=act.case,
                subject=act.subject,
                key=act.key,
                digest=act.digest,
                partition=act.place.partition,
                offset=act.place.offset,
            )
            for act in button.acts
        )
        issued_at = int(planned_at.timestamp())
        about = ActToken(purpose=purpose, campaign=button.campaign, issued_at=issued_at, acts=acts)
        token = sign(about, self._token_key(button.campaign))
        place = self._settings.petitions_url if button.signatures else f"{self._settings.letters_url}/letters"
        return f"{place}/{purpose}/{token}?lang={language}"

    def _receipt(self, act: Act) -> str:
        return short_receipt(self._token_key(act.campaign), *act.place)

    def _token_key(self, campaign: str) -> bytes:
        keys = self._catalog.keys.get(campaign)
        if keys is None:
            raise TransientError("a campaign's keys are not known yet")
        return keys.token

    def _title(self, act: Act, code: str) -> str:
        case = self._case(act.case)
        if act.kind == "signature" and case.petition is not None:
            return localized(case.petition.title, code)
        return case.name

    def _case(self, slug: str) -> CaseChanged:
        case = self._catalog.cases.get(slug)
        if case is None:
            raise TransientError("a case is not known yet")
        return case

    def _campaign(self, slug: str) -> CampaignChanged:
        campaign = self._catalog.campaigns.get(slug)
        if campaign is None:
            raise TransientError("a campaign is not known yet")
        return campaign


def _subject(words: Wording, acts: Sequence[Act], name: str) -> str:
    if len(acts) == 1 and name:
        return words.subject_of_one(acts[0].kind, name)
    return words.subject_of_many(len(acts))


def _full_name(act: Act) -> str:
    return shown_name(f"{act.person.given_name} {act.person.family_name}")


def _greeted(acts: Sequence[Act]) -> str:
    """The given name, where all acts agree on it: otherwise a stranger may have typed one of them."""
    names = {shown_name(act.person.given_name) for act in acts}
    return names.pop() if len(names) == 1 else ""

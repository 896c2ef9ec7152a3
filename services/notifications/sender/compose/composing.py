"""Composes a mail: opens the deliveries that it covers, renders text and HTML, writes the headers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Final

from services.notifications.domain.acts import Act
from services.notifications.domain.recipient_keys import RecipientKeys, smtp_address
from services.notifications.mailing import Mailing, View
from services.notifications.sender.compose.mime import build_message, encode_header, format_address
from services.notifications.sender.compose.signing import Signer
from services.notifications.sender.compose.templates import load_templates
from services.notifications.sender.compose.wording import TRANSLATIONS, display_name
from services.notifications.settings import Settings
from services.notifications.storage.mails import CoveredDelivery, LeasedMail
from shared.catalog import Catalog
from shared.errors import PermanentError, TransientError
from shared.web.languages import direction, offered_languages

_FORBIDDEN_IN_COMMAND: Final = re.compile(r'[\s<>"\\,;]')


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """A mail ready for the relay. `address` is the key of `recipient`; `utf8` marks a mailbox name that is not ASCII
    (RFC 6531).
    """

    recipient: str
    address: bytes
    content: bytes
    utf8: bool


class Composer:
    """Composes the messages of `mailings`. Opened personal data stays in memory only during one call.

    Raises:
        SetupError: the key for signing cannot be used.
    """

    def __init__(
        self, mailings: Sequence[Mailing], catalog: Catalog, recipient_keys: RecipientKeys, settings: Settings
    ) -> None:
        self.mailings = {mailing.name: mailing for mailing in mailings}
        self._catalog = catalog
        self._recipient_keys = recipient_keys
        self._settings = settings
        self._view_builders = {mailing.name: mailing.view_builder(catalog, settings) for mailing in mailings}
        self._signer = _load_signer(settings)
        # A template that cannot be read stops the process at its start, not at the first mail.
        self._templates = {
            (mailing.name, code): load_templates(mailing.templates, mailing.name, code)
            for mailing in mailings
            for code in offered_languages(TRANSLATIONS)
        }

    def compose(self, mail: LeasedMail) -> OutgoingMail:
        """Compose the message of `mail`, the same at every attempt as long as the same acts are unconfirmed.

        Raises:
            TransientError: a campaign, case or key is not known yet.
            PermanentError: sealed fields cannot be opened, or the address is not valid for SMTP.
        """
        acts = [self._act(delivery) for delivery in mail.deliveries]
        latest = max(mail.deliveries, key=lambda delivery: (delivery.accepted_at, delivery.record))
        address, utf8 = _deliverable_address(acts[0].person.email)
        view = self._view_builders[mail.mailing].build(acts, latest.locale, mail.planned_at)
        text, html = self._render(mail, view)
        person = acts[0].person
        name = display_name(f"{person.given_name} {person.family_name}") if view.greets_by_name else ""
        headers = self._headers(mail, view, format_address("To", name, address))
        content = build_message(headers, text=text, html=html, boundary=f"={mail.id.hex()}=")
        if self._signer is not None:
            content = self._signer.sign(content, mail.planned_at.timestamp())
        return OutgoingMail(address, self._recipient_keys.address_key(address), content, utf8)

    def _act(self, delivery: CoveredDelivery) -> Act:
        keys = self._catalog.keys.get(delivery.campaign)
        if keys is None or delivery.seal_key not in keys.seal:
            raise TransientError("a campaign's keys are not known yet")
        try:
            person = keys.seal[delivery.seal_key].open(
                delivery.sealed, topic=delivery.record.topic, subject=delivery.subject, key=delivery.key
            )
        except ValueError:
            raise PermanentError("cannot-be-opened") from None
        return Act(
            record=delivery.record,
            campaign=delivery.campaign,
            case=delivery.case,
            subject=delivery.subject,
            kind=delivery.kind,
            key=delivery.key,
            digest=delivery.digest,
            other_data=delivery.other_data,
            at=delivery.accepted_at.timestamp(),
            person=person,
        )

    def _render(self, mail: LeasedMail, view: View) -> tuple[str, str]:
        token = self._recipient_keys.token(mail.recipient)
        values = {
            "view": view,
            "language": view.language,
            "direction": direction(view.language),
            "preferences": f"{self._settings.notifications_url}/preferences/{token}?lang={view.language}",
            "unsubscribe": f"{self._unsubscribe_url(mail.recipient)}?lang={view.language}",
        }
        text, html = self._templates[mail.mailing, view.language]
        return text.render(values), html.render(values)

    def _headers(self, mail: LeasedMail, view: View, to: str) -> list[tuple[str, str]]:
        settings = self._settings
        return [
            ("From", format_address("From", view.organisation, settings.mail_from)),
            ("To", to),
            ("Subject", encode_header("Subject", view.subject)),
            ("Date", format_datetime(mail.planned_at)),
            ("Message-ID", f"<{mail.id.hex()}@{settings.mail_domain}>"),
            ("List-Unsubscribe", f"<{self._unsubscribe_url(mail.recipient)}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("Auto-Submitted", "auto-generated"),
            ("Content-Language", view.language),
        ]

    def _unsubscribe_url(self, recipient: bytes) -> str:
        return f"{self._settings.notifications_url}/v1/unsubscribe/{self._recipient_keys.token(recipient)}"


def _load_signer(settings: Settings) -> Signer | None:
    if settings.dkim_key_file is None:
        return None
    return Signer.load(settings.dkim_key_file, settings.dkim_selector, settings.dkim_domain or settings.mail_domain)


def _deliverable_address(address: str) -> tuple[str, bool]:
    """Return `address` with its domain in A-labels, and whether the rest needs SMTPUTF8 (RFC 6531)."""
    try:
        deliverable = smtp_address(address)
    except ValueError:
        raise PermanentError("no-address") from None
    local = deliverable.rpartition("@")[0]
    if not local or not deliverable.isprintable() or _FORBIDDEN_IN_COMMAND.search(deliverable):
        raise PermanentError("no-address")
    return deliverable, not local.isascii()

"""Composes a mail: opens what it covers, renders text and HTML, writes the headers."""

from __future__ import annotations

import re
from email.utils import format_datetime
from typing import Final

from services.notifications.domain.buttons import Act
from services.notifications.domain.recipient_keys import RecipientKeys, written_address
from services.notifications.sender.mime import mailbox, message, words
from services.notifications.sender.signing import Signer
from services.notifications.sender.smtp_connection import Outgoing
from services.notifications.sender.templates import templates
from services.notifications.sender.view import View, Views
from services.notifications.sender.wording import shown_name, written
from services.notifications.settings import Settings
from services.notifications.storage.mails import Covered, Leased
from shared.catalog import Catalog
from shared.errors import PermanentError, TransientError
from shared.web.languages import direction

_NOT_IN_A_COMMAND: Final = re.compile(r'[\s<>"\\,;]')


class Composer:
    """Makes messages of leased mails. What it opens stays in memory for as long as one call.

    Raises:
        SetupError: the key for signing cannot be used.
    """

    def __init__(self, catalog: Catalog, recipients: RecipientKeys, settings: Settings) -> None:
        self._catalog = catalog
        self._recipients = recipients
        self._settings = settings
        self._views = Views(catalog, settings)
        self._signer = _signer(settings)
        # A template that cannot be read stops the process at its start, not at the first mail.
        self._templates = {code: templates(code) for code in written()}

    def compose(self, mail: Leased) -> Outgoing:
        """The message of `mail`, the same at every attempt as long as the same acts wait.

        Raises:
            TransientError: a campaign, case or key is not known yet.
            PermanentError: what is sealed cannot be opened, or the address cannot be written to.
        """
        acts = [self._act(covered) for covered in mail.covers]
        latest = max(mail.covers, key=lambda covered: (covered.accepted_at, covered.place))
        address, utf8 = _deliverable(acts[0].person.email)
        view = self._views.of(acts, latest.locale, mail.planned_at)
        text, html = self._rendered(view, mail.recipient)
        person = acts[0].person
        name = shown_name(f"{person.given_name} {person.family_name}") if view.personal else ""
        headers = self._headers(mail, view, mailbox("To", name, address))
        content = message(headers, text=text, html=html, boundary=f"={mail.id.hex()}=")
        if self._signer is not None:
            content = self._signer.sign(content, mail.planned_at.timestamp())
        return Outgoing(address, self._recipients.address(address), content, utf8)

    def _act(self, covered: Covered) -> Act:
        keys = self._catalog.keys.get(covered.campaign)
        if keys is None or covered.seal_key not in keys.seal:
            raise TransientError("a campaign's keys are not known yet")
        try:
            person = keys.seal[covered.seal_key].open(
                covered.sealed, topic=covered.place.topic, subject=covered.subject, key=covered.key
            )
        except ValueError:
            raise PermanentError("cannot-be-opened") from None
        return Act(
            place=covered.place,
            campaign=covered.campaign,
            case=covered.case,
            subject=covered.subject,
            kind=covered.kind,
            key=covered.key,
            digest=covered.digest,
            other_data=covered.other_data,
            at=covered.accepted_at.timestamp(),
            person=person,
        )

    def _rendered(self, view: View, recipient: bytes) -> tuple[str, str]:
        token = self._recipients.token(recipient)
        values = {
            "view": view,
            "language": view.language,
            "direction": direction(view.language),
            "preferences": f"{self._settings.notifications_url}/preferences/{token}?lang={view.language}",
            "unsubscribe": f"{self._unsubscribe(recipient)}?lang={view.language}",
        }
        text, html = self._templates[view.language]
        return text.render(values), html.render(values)

    def _headers(self, mail: Leased, view: View, to: str) -> list[tuple[str, str]]:
        settings = self._settings
        return [
            ("From", mailbox("From", view.organisation, settings.mail_from)),
            ("To", to),
            ("Subject", words("Subject", view.subject)),
            ("Date", format_datetime(mail.planned_at)),
            ("Message-ID", f"<{mail.id.hex()}@{settings.mail_domain}>"),
            ("List-Unsubscribe", f"<{self._unsubscribe(mail.recipient)}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("Auto-Submitted", "auto-generated"),
            ("Content-Language", view.language),
        ]

    def _unsubscribe(self, recipient: bytes) -> str:
        return f"{self._settings.notifications_url}/v1/unsubscribe/{self._recipients.token(recipient)}"


def _signer(settings: Settings) -> Signer | None:
    if settings.dkim_key_file is None:
        return None
    return Signer.of(settings.dkim_key_file, settings.dkim_selector, settings.dkim_domain or settings.mail_domain)


def _deliverable(address: str) -> tuple[str, bool]:
    """`address` with its domain in A-labels, and whether the rest needs SMTPUTF8 (RFC 6531)."""
    try:
        written = written_address(address)
    except ValueError:
        raise PermanentError("no-address") from None
    local = written.rpartition("@")[0]
    if not local or not written.isprintable() or _NOT_IN_A_COMMAND.search(written):
        raise PermanentError("no-address")
    return written, not local.isascii()

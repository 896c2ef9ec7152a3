"""One persistent connection to the SMTP relay."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPResponseException

from services.notifications.domain.refusals import NON_ASCII_NOT_PERMITTED, Stage, Status, parse_status
from services.notifications.sender.compose.composing import OutgoingMail
from services.notifications.settings import Settings

COMMAND_TIMEOUT_S: Final = 25.0
SEND_TIMEOUT_S: Final = 30.0
"""The most that one mail may take, including the time to connect."""
MAX_MAILS_PER_CONNECTION: Final = 1_000
ACCEPTED: Final = 250
FORWARDED: Final = 251
CLOSING: Final = 421
NOT_SUPPORTED: Final = 553
"""The answer of a relay that does not support such a mailbox name; RFC 6531, 3.5."""


class RefusedError(Exception):
    """The relay did not take the mail: the stage of the dialogue, the code (0 if there was no answer), and the enhanced
    status of a permanent refusal.

    The message omits the relay's text, because relays repeat addresses.
    """

    def __init__(self, stage: Stage, code: int, status: Status | None = None) -> None:
        super().__init__(f"{stage.value} {code}")
        self.stage = stage
        self.code = code
        self.status = status


class SmtpConnection:
    """Sends one mail after the other over one connection, opened when needed and opened anew after a failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: SMTP | None = None
        self._sent = 0

    async def send(self, mail: OutgoingMail) -> None:
        """Send `mail`.

        Raises:
            RefusedError: the relay did not take it, or its answer was lost, and then it may have taken it.
        """
        stage = Stage.SESSION
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                client = await self._connect()
                await self._send_mail_command(client, mail)
                stage = Stage.RECIPIENT
                await self._send_rcpt_command(client, mail)
                stage = Stage.MESSAGE
                await client.data(mail.content)
        except SMTPResponseException as error:
            await self._recover(error.code)
            raise RefusedError(stage, error.code, parse_status(error.message)) from None
        except (SMTPException, OSError, TimeoutError):
            self._drop()
            raise RefusedError(stage, 0) from None
        self._sent += 1
        if self._sent >= MAX_MAILS_PER_CONNECTION:
            await self.close()

    async def close(self) -> None:
        """Quit, if connected."""
        client, self._client = self._client, None
        self._sent = 0
        if client is not None and client.is_connected:
            with suppress(SMTPException, OSError, TimeoutError):
                async with asyncio.timeout(5):
                    await client.quit()

    async def _connect(self) -> SMTP:
        if self._client is None or not self._client.is_connected:
            settings = self._settings
            client = SMTP(
                hostname=settings.smtp_host,
                port=settings.smtp_port,
                local_hostname=settings.mail_domain,
                username=settings.smtp_username,
                password=settings.smtp_password.get_secret_value() if settings.smtp_password else None,
                timeout=COMMAND_TIMEOUT_S,
                use_tls=settings.smtp_tls == "tls",
                start_tls={"auto": None, "starttls": True}.get(settings.smtp_tls, False),
            )
            self._sent = 0
            self._client = client
            await client.connect()
        return self._client

    async def _send_mail_command(self, client: SMTP, mail: OutgoingMail) -> None:
        if mail.utf8:
            if client.is_ehlo_or_helo_needed:
                await client.ehlo()
            if not client.supports_extension("smtputf8"):
                raise RefusedError(Stage.RECIPIENT, NOT_SUPPORTED, NON_ASCII_NOT_PERMITTED)
        await client.mail(self._settings.mail_from, options=("SMTPUTF8", "BODY=8BITMIME") if mail.utf8 else ())

    async def _send_rcpt_command(self, client: SMTP, mail: OutgoingMail) -> None:
        answer = await client.execute_command(b"RCPT", b"TO:<" + mail.recipient.encode() + b">")
        if answer.code not in (ACCEPTED, FORWARDED):
            raise SMTPResponseException(answer.code, answer.message)

    async def _recover(self, code: int) -> None:
        """Reset the connection for the next mail, or drop it where the relay closes it or was never reached."""
        client = self._client
        if client is None or code == CLOSING or not client.is_connected:
            self._drop()
            return
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                await client.rset()
        except (SMTPException, OSError, TimeoutError):
            self._drop()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

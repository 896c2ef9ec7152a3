"""A real SMTP server for tests that can also misbehave."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class ReceivedMail:
    """A received message and the address of its recipient."""

    to: str
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.default)

    @property
    def id(self) -> str:
        return str(self.message["Message-ID"])

    def part(self, kind: str) -> str:
        body = self.message.get_body((kind,))
        assert body is not None
        return str(body.get_content()).replace("\r\n", "\n")

    @property
    def text(self) -> str:
        return self.part("plain")


@dataclass
class SmtpServer:
    """Stores the mails that it receives.

    `rcpt_answers` are refusals of RCPT by address or domain. For addresses in `lose_answer_to` the mail is stored and
    the connection cut before the answer, once. After `stall_after` mails all clients wait until `release` is set.
    """

    mails: list[ReceivedMail] = field(default_factory=list)
    rcpt_answers: dict[str, str] = field(default_factory=dict)
    lose_answer_to: set[str] = field(default_factory=set)
    refusals: Counter[str] = field(default_factory=Counter)
    stall_after: int | None = None
    release: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    def mails_to(self, address: str) -> list[ReceivedMail]:
        return [mail for mail in self.mails if mail.to == address]

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.rcpt_answers.get(address) or self.rcpt_answers.get(address.rpartition("@")[2])
        if answer is not None:
            self.refusals[address] += 1
            if answer.startswith("421"):
                asyncio.get_running_loop().call_soon(_transport(server).close)
            return answer
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        if self.stall_after is not None and len(self.mails) >= self.stall_after:
            await self.release.wait()
        for address in envelope.rcpt_tos:
            self.mails.append(ReceivedMail(address, envelope.content))
            if address in self.lose_answer_to:
                self.lose_answer_to.discard(address)
                _transport(server).abort()
        return "250 OK"


def _transport(server: SMTP) -> asyncio.Transport:
    assert isinstance(server.transport, asyncio.Transport)
    return server.transport


@asynccontextmanager
async def run_smtp_server() -> AsyncIterator[SmtpServer]:
    """Run an SMTP server on a free loopback port."""
    smtp_server = SmtpServer()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(smtp_server, enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0)
    smtp_server.port = server.sockets[0].getsockname()[1]
    try:
        yield smtp_server
    finally:
        server.close()

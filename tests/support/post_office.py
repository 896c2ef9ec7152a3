"""A real SMTP server for tests, which can also misbehave."""

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
class Letter:
    """A message as it arrived, with the address it was handed over for."""

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
class PostOffice:
    """Keeps what arrives.

    `answers` are given to RCPT by address or domain instead of a welcome, for as long as they stand there. For
    addresses in `lose_answer_to` the message is kept and the connection cut before the answer, once. After `hold_after`
    letters it keeps everybody waiting, until `let_go` is set.
    """

    letters: list[Letter] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    lose_answer_to: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    hold_after: int | None = None
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    def to(self, address: str) -> list[Letter]:
        return [letter for letter in self.letters if letter.to == address]

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.answers.get(address) or self.answers.get(address.rpartition("@")[2])
        if answer is not None:
            self.refused[address] += 1
            if answer.startswith("421"):
                asyncio.get_running_loop().call_soon(_wire(server).close)
            return answer
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        if self.hold_after is not None and len(self.letters) >= self.hold_after:
            await self.let_go.wait()
        for address in envelope.rcpt_tos:
            self.letters.append(Letter(address, envelope.content))
            if address in self.lose_answer_to:
                self.lose_answer_to.discard(address)
                _wire(server).abort()
        return "250 OK"


def _wire(server: SMTP) -> asyncio.Transport:
    assert isinstance(server.transport, asyncio.Transport)
    return server.transport


@asynccontextmanager
async def post_office() -> AsyncIterator[PostOffice]:
    """A post office on a loopback port of its own."""
    office = PostOffice()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(office, enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0)
    office.port = server.sockets[0].getsockname()[1]
    try:
        yield office
    finally:
        server.close()

"""A small HTTP/1.1 client over connections that stay open: thousands of single posts must not cost more than they do
at the other end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 15.0


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class Client:
    """Keeps the connections that are not in use, by address; there are as many as there were requests side by side."""

    def __init__(self) -> None:
        self._idle: dict[str, list[_Connection]] = {}

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """The answer to one request; nothing is repeated here.

        Raises:
            OSError: no connection, or it ended before the answer did.
            TimeoutError: no answer in time.
        """
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        lines = [f"{method} {path} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        connection = await self._connection(parts.netloc)
        try:
            answer = await connection.ask("\r\n".join([*lines, "\r\n"]).encode("ascii") + body)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            self._idle.setdefault(parts.netloc, []).append(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close what is open."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _connection(self, place: str) -> _Connection:
        idle = self._idle.get(place, [])
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
        host, _, port = place.rpartition(":")
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, host, int(port))
        return connection


class _Connection(asyncio.Protocol):
    """One connection with at most one request on its way. httptools calls the methods named `on_...`."""

    def __init__(self) -> None:
        self.reusable = True
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._parser = HttpResponseParser(self)
        self._body: list[bytes] = []

    async def ask(self, request: bytes) -> Answer:
        self._parser = HttpResponseParser(self)
        self._body = []
        self._waiting = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(request)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._waiting

    def close(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_connection makes
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self.close()
            self._fail(OSError(str(error)))

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        self._fail(error if isinstance(error, OSError) else ConnectionResetError())

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.reusable = self.reusable and self._parser.should_keep_alive()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(Answer(self._parser.get_status_code(), b"".join(self._body)))

    def _fail(self, error: OSError) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

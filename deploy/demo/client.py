"""A small HTTP/1.1 client over persistent connections, so that thousands of single posts cost less here than at the
server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

CONNECT_SECONDS: Final = 5.0
RESPONSE_SECONDS: Final = 15.0


class Response(NamedTuple):
    """The response to one request."""

    status: int
    body: bytes


class Client:
    """Reuses idle connections by address; it opens as many as there are concurrent requests."""

    def __init__(self) -> None:
        self._idle: dict[str, list[_Connection]] = {}

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Response:
        """Send one request, without retries, and return the response.

        Raises:
            OSError: no connection, or it ended before the response did.
            TimeoutError: no response in time.
        """
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        lines = [f"{method} {path} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        connection = await self._connection(parts.netloc)
        try:
            response = await connection.ask("\r\n".join([*lines, "\r\n"]).encode("ascii") + body)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            self._idle.setdefault(parts.netloc, []).append(connection)
        else:
            connection.close()
        return response

    def close(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _connection(self, netloc: str) -> _Connection:
        idle = self._idle.get(netloc, [])
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
        host, _, port = netloc.rpartition(":")
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, host, int(port))
        return connection


class _Connection(asyncio.Protocol):
    """One connection with at most one request in flight. httptools calls the methods named `on_...`."""

    def __init__(self) -> None:
        self.reusable = True
        self._transport: asyncio.Transport | None = None
        self._response: asyncio.Future[Response] | None = None
        self._parser = HttpResponseParser(self)
        self._body: list[bytes] = []

    async def ask(self, request: bytes) -> Response:
        self._parser = HttpResponseParser(self)
        self._body = []
        self._response = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(request)
        async with asyncio.timeout(RESPONSE_SECONDS):
            return await self._response

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
        if self._response is not None and not self._response.done():
            self._response.set_result(Response(self._parser.get_status_code(), b"".join(self._body)))

    def _fail(self, error: OSError) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(error)

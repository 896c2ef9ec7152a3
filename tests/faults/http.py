"""A small HTTP/1.1 client, since thousands of requests per second must not cost the load more than the server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

LIMIT: Final = 1 << 20
CONNECT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `status` is 0 if there was none: the connection was refused or ended.

    `cut` says that the connection was new, took the request and ended without a response.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    cut: bool = False


NO_RESPONSE: Final = Response(0, {}, b"")
TRUNCATED: Final = Response(0, {}, b"", cut=True)


class Client:
    """Keeps connections to one origin open and reuses them."""

    def __init__(self, origin: str) -> None:
        parts = urlsplit(origin)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes, headers: dict[str, str], timeout_s: float) -> Response:
        """Post JSON and wait for the answer.

        Raises:
            TimeoutError: it was connected and no answer came within so many seconds.
        """
        return await self._ask(self._request("POST", path, body, headers), timeout_s)

    async def get(self, path: str, timeout_s: float) -> Response:
        """Get what is at `path`.

        Raises:
            TimeoutError: it was connected and no answer came within so many seconds.
        """
        return await self._ask(self._request("GET", path, b"", {}), timeout_s)

    async def _ask(self, request: bytes, within: float) -> Response:
        new = not self._idle
        try:
            connection = await self._connected() if new else self._idle.pop()
        except (OSError, TimeoutError):
            return NO_RESPONSE
        try:
            async with asyncio.timeout(within):
                response = await _exchange(connection, request)
        except (OSError, asyncio.IncompleteReadError):
            connection[1].transport.abort()
            return TRUNCATED if new else NO_RESPONSE
        except BaseException:
            connection[1].transport.abort()
            raise
        if response.headers.get("connection") == "close":
            connection[1].transport.abort()
        else:
            self._idle.append(connection)
        return response

    def close(self) -> None:
        """Drop what is open."""
        for _, writer in self._idle:
            writer.transport.abort()
        self._idle.clear()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(CONNECT_S):
            return await asyncio.open_connection(self._host, self._port, limit=LIMIT)

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self._host}:{self._port}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


async def _exchange(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> Response:
    reader, writer = connection
    writer.write(request)
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (text.partition(":") for text in lines if text)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Response(int(first.split()[1]), headers, body)

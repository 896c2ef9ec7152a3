"""A small HTTP/1.1 client: thousands of requests a second would cost the load more than what it loads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

LIMIT: Final = 1 << 20
CONNECT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `status` is 0 where nothing did: the connection was refused or ended.

    `cut` says that the connection was new, took the request and ended without an answer.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    cut: bool = False


SILENCE: Final = Answer(0, {}, b"")
CUT: Final = Answer(0, {}, b"", cut=True)


class Client:
    """Keeps connections to one origin open and uses them again."""

    def __init__(self, origin: str) -> None:
        parts = urlsplit(origin)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes, headers: dict[str, str], within: float) -> Answer:
        """Post JSON and wait for the answer.

        Raises:
            TimeoutError: it was connected and no answer came within so many seconds.
        """
        return await self._ask(self._request("POST", path, body, headers), within)

    async def get(self, path: str, within: float) -> Answer:
        """Get what is at `path`.

        Raises:
            TimeoutError: it was connected and no answer came within so many seconds.
        """
        return await self._ask(self._request("GET", path, b"", {}), within)

    async def _ask(self, request: bytes, within: float) -> Answer:
        new = not self._idle
        try:
            line = await self._connected() if new else self._idle.pop()
        except (OSError, TimeoutError):
            return SILENCE
        try:
            async with asyncio.timeout(within):
                answer = await _exchange(line, request)
        except (OSError, asyncio.IncompleteReadError):
            line[1].transport.abort()
            return CUT if new else SILENCE
        except BaseException:
            line[1].transport.abort()
            raise
        if answer.headers.get("connection") == "close":
            line[1].transport.abort()
        else:
            self._idle.append(line)
        return answer

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


async def _exchange(line: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> Answer:
    reader, writer = line
    writer.write(request)
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (text.partition(":") for text in lines if text)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(first.split()[1]), headers, body)

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
READ_BYTES: Final = 64 * 1024


class Response(NamedTuple):
    """The response to one request."""

    status: int
    body: bytes


class _Incoming:
    """What has arrived of a response, and whether its connection may be used again. httptools calls `on_...`."""

    def __init__(self) -> None:
        self.parser = HttpResponseParser(self)
        self.body = b""
        self.complete = self.reusable = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete, self.reusable = True, self.parser.should_keep_alive()


class Client:
    """Reuses idle connections by address; it opens as many as there are concurrent requests."""

    def __init__(self) -> None:
        self._idle: dict[str, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

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
        reader, writer = await self._connection(parts.netloc)
        incoming = _Incoming()
        try:
            async with asyncio.timeout(RESPONSE_SECONDS):
                writer.write("\r\n".join([*lines, "\r\n"]).encode("ascii") + body)
                while not incoming.complete:
                    if not (data := await reader.read(READ_BYTES)):
                        raise ConnectionResetError
                    incoming.parser.feed_data(data)
        except HttpParserError as error:
            raise OSError(str(error)) from error
        finally:
            if incoming.reusable:
                self._idle.setdefault(parts.netloc, []).append((reader, writer))
            else:
                writer.close()
        return Response(incoming.parser.get_status_code(), incoming.body)

    def close(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            for _, writer in connections:
                writer.close()
        self._idle.clear()

    async def _connection(self, netloc: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        idle = self._idle.get(netloc, [])
        while idle:
            reader, writer = idle.pop()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.close()
        host, _, port = netloc.rpartition(":")
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asyncio.open_connection(host, int(port))

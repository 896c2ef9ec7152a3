"""A way to the broker on which acknowledgements lose the offset, as those of a broker that has forgotten it do."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

PRODUCE: Final = 0
METADATA: Final = 3
NO_OFFSET: Final = -1
DUPLICATE_SEQUENCE_NUMBER: Final = 46
"""What a broker says, without an offset, to a batch that it stored so long ago that it no longer knows where."""
_LENGTH: Final = struct.Struct(">i")
_REQUEST: Final = struct.Struct(">hhi")
"""Which question, its version, and the number by which the answer is known."""
_ERROR_AND_OFFSET: Final = struct.Struct(">hq")


@dataclass
class Forgetful:
    """Stands at `port` and passes everything on to the broker. While `forgets`, batches for `topic` are stored and
    their acknowledgements lose the offset; `forgotten` counts these.
    """

    broker: int
    topic: str
    port: int = 0
    forgets: bool = False
    forgotten: int = 0
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        there, onwards = await asyncio.open_connection("127.0.0.1", self.broker)
        asked: dict[int, int] = {}
        ways = {
            asyncio.create_task(_pass(reader, onwards, lambda message: _note(message, asked))),
            asyncio.create_task(_pass(there, writer, lambda message: self._answer(message, asked))),
        }
        self._connections |= ways
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        self._connections -= ways
        onwards.close()
        writer.close()

    def _answer(self, message: bytes, asked: dict[int, int]) -> bytes:
        (number,) = _LENGTH.unpack_from(message)
        what = asked.pop(number, None)
        if what == METADATA:
            # Where the broker says that it is, we are.
            return message.replace(b"127.0.0.1" + _LENGTH.pack(self.broker), b"127.0.0.1" + _LENGTH.pack(self.port))
        return self._forget(message) if what == PRODUCE and self.forgets else message

    def _forget(self, message: bytes) -> bytes:
        """The answer to a batch: number, one topic with its name, one partition with its number, error and offset."""
        name = struct.pack(">h", len(self.topic)) + self.topic.encode()
        at = 2 * _LENGTH.size
        if message[at : at + len(name)] != name:
            return message
        at += len(name) + 2 * _LENGTH.size
        self.forgotten += 1
        changed = bytearray(message)
        _ERROR_AND_OFFSET.pack_into(changed, at, DUPLICATE_SEQUENCE_NUMBER, NO_OFFSET)
        return bytes(changed)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]) -> None:
    """Pass messages on, changed, until one side ends."""
    try:
        while True:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            message = change(await reader.readexactly(length))
            writer.write(_LENGTH.pack(len(message)) + message)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return


def _note(message: bytes, asked: dict[int, int]) -> bytes:
    what, _version, number = _REQUEST.unpack_from(message)
    asked[number] = what
    return message


@asynccontextmanager
async def forgetful(kafka: str, topic: str) -> AsyncIterator[Forgetful]:
    """A way to the broker at `kafka` (host:port)."""
    way = Forgetful(int(kafka.rpartition(":")[2]), topic)
    server = await asyncio.start_server(way.serve, "127.0.0.1", 0)
    way.port = server.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        server.close()
        for task in list(way._connections):
            task.cancel()

"""A proxy to the broker that drops the offset of acknowledgements, as a broker does that has forgotten it."""

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
"""The error, without an offset, of a broker to a batch that it stored too long ago to know its offset."""
_LENGTH: Final = struct.Struct(">i")
_REQUEST: Final = struct.Struct(">hhi")
"""API key, API version and correlation id."""
_ERROR_AND_OFFSET: Final = struct.Struct(">hq")


@dataclass
class OffsetDroppingProxy:
    """Listens on `port` and relays everything to the broker. While `drops_offsets`, batches for `topic` are stored and
    their acknowledgements lose the offset; `dropped` counts these.
    """

    broker: int
    topic: str
    port: int = 0
    drops_offsets: bool = False
    dropped: int = 0
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes it."""
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self.broker)
        api_keys: dict[int, int] = {}
        directions = {
            asyncio.create_task(_relay(reader, broker_writer, lambda message: _note_request(message, api_keys))),
            asyncio.create_task(
                _relay(broker_reader, writer, lambda message: self._transform_response(message, api_keys))
            ),
        }
        self._connections |= directions
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for task in directions:
            task.cancel()
        self._connections -= directions
        broker_writer.close()
        writer.close()

    def _transform_response(self, message: bytes, api_keys: dict[int, int]) -> bytes:
        (correlation_id,) = _LENGTH.unpack_from(message)
        api_key = api_keys.pop(correlation_id, None)
        if api_key == METADATA:
            # Clients must reconnect through the proxy, not to the advertised broker.
            return message.replace(b"127.0.0.1" + _LENGTH.pack(self.broker), b"127.0.0.1" + _LENGTH.pack(self.port))
        return self._drop_offset(message) if api_key == PRODUCE and self.drops_offsets else message

    def _drop_offset(self, message: bytes) -> bytes:
        """Drop the offset of a produce response.

        Its layout: correlation id, one topic with its name, one partition with its number, error and offset.
        """
        name = struct.pack(">h", len(self.topic)) + self.topic.encode()
        position = 2 * _LENGTH.size
        if message[position : position + len(name)] != name:
            return message
        position += len(name) + 2 * _LENGTH.size
        self.dropped += 1
        altered = bytearray(message)
        _ERROR_AND_OFFSET.pack_into(altered, position, DUPLICATE_SEQUENCE_NUMBER, NO_OFFSET)
        return bytes(altered)


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, transform: Callable[[bytes], bytes]
) -> None:
    """Relay messages, transformed, until one side closes."""
    try:
        while True:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            message = transform(await reader.readexactly(length))
            writer.write(_LENGTH.pack(len(message)) + message)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return


def _note_request(message: bytes, api_keys: dict[int, int]) -> bytes:
    api_key, _version, correlation_id = _REQUEST.unpack_from(message)
    api_keys[correlation_id] = api_key
    return message


@asynccontextmanager
async def offset_dropping_proxy(kafka: str, topic: str) -> AsyncIterator[OffsetDroppingProxy]:
    """Run a proxy to the broker at `kafka` (host:port)."""
    proxy = OffsetDroppingProxy(int(kafka.rpartition(":")[2]), topic)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in list(proxy._connections):
            task.cancel()

"""A TCP proxy of our own, under whose hand connections become slow, silent, lossy or end.

It stands between the services and Kafka or PostgreSQL, knows which process each connection is of, and gives each the
`Weather` that is set for that process.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

HOST: Final = "127.0.0.1"
CHUNK: Final = 64 * 1024
CONNECT_S: Final = 5.0
TRICKLE_S: Final = 0.1
POLL_S: Final = 0.05
LINK_CONNECT_S: Final = 30.0


class Link(Protocol):
    """A stretch of network that the proxy can lead connections over."""

    async def splice(self) -> tuple[tuple[asyncio.StreamReader, asyncio.StreamWriter], ...]:
        """Both ends of a new connection over the link."""
        ...


@dataclass(frozen=True, slots=True)
class NetworkConditions:
    """What happens to what passes.

    `delay_s` before each piece; `bytes_per_s` where it only trickles; `silent`: nothing passes and nobody is told
    (half-open); `cut`: connections are reset and none is taken; `link`: new connections lead over it.
    """

    delay_s: float = 0.0
    bytes_per_s: int = 0
    silent: bool = False
    cut: bool = False
    link: Link | None = None


NO_FAULT: Final = NetworkConditions()


@dataclass(eq=False)
class _Connection:
    pid: int
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def abort(self) -> None:
        """Reset it: whoever is at its ends learns of it at once."""
        for writer in self.writers:
            if not writer.transport.is_closing():
                wire = writer.get_extra_info("socket")
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Listens on `port` of the loopback and passes on to `target`, a port there."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._conditions: dict[int, NetworkConditions] = {}
        self._everywhere = NO_FAULT
        self._connections: set[_Connection] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; on a port of the system's choice where it is 0."""
        self._server = await asyncio.start_server(self._accepted, HOST, self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.abort()
        for pump in tuple(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def set(self, conditions: NetworkConditions, pids: Collection[int] | None = None) -> None:
        """Give `weather` to the connections of the processes `pids`, or to all; connections that it cuts end now."""
        if pids is None:
            self._everywhere = conditions
            self._conditions.clear()
        else:
            self._conditions |= dict.fromkeys(pids, conditions)
        for connection in tuple(self._connections):
            if self._conditions_of(connection).cut or (
                conditions.link is not None and self._conditions_of(connection) is conditions
            ):
                connection.abort()

    def clear(self) -> None:
        """Remove all conditions; connections over a link end and come back without it."""
        linked = [one for one in self._connections if self._conditions_of(one).link is not None]
        self._everywhere = NO_FAULT
        self._conditions.clear()
        for connection in linked:
            connection.abort()

    def _conditions_of(self, connection: _Connection) -> NetworkConditions:
        return self._conditions.get(connection.pid, self._everywhere)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._lead(reader, writer))
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(process_at(writer.get_extra_info("peername")[1]), [writer])
        self._connections.add(connection)
        try:
            if not self._conditions_of(connection).cut:
                await self._serve(connection, reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            connection.abort()
            self._connections.discard(connection)

    async def _serve(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = self._conditions_of(connection).link
        await self._while_silent(connection)
        async with asyncio.timeout(CONNECT_S):
            there = await asyncio.open_connection(HOST, self._target)
        connection.writers.append(there[1])
        pipes = [(reader, there[1]), (there[0], writer)]
        if link is not None:
            async with asyncio.timeout(LINK_CONNECT_S):
                near, far = await link.splice()
            connection.writers += [near[1], far[1]]
            pipes = [(reader, near[1]), (far[0], there[1]), (there[0], far[1]), (near[0], writer)]
        await _first_end([asyncio.create_task(self._pump(connection, *pipe)) for pipe in pipes])

    async def _pump(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._while_silent(connection)
            conditions = self._conditions_of(connection)
            if conditions.delay_s:
                await asyncio.sleep(conditions.delay_s)
            if conditions.bytes_per_s:
                await self._trickle(connection, data, writer)
            else:
                writer.write(data)
            await writer.drain()

    async def _while_silent(self, connection: _Connection) -> None:
        while self._conditions_of(connection).silent:  # noqa: ASYNC110  changes of the conditions send no event
            await asyncio.sleep(POLL_S)

    async def _trickle(self, connection: _Connection, data: bytes, writer: asyncio.StreamWriter) -> None:
        at = 0
        while at < len(data):
            rate = self._conditions_of(connection).bytes_per_s
            size = max(1, int(rate * TRICKLE_S)) if rate else len(data)
            writer.write(data[at : at + size])
            at += size
            if rate:
                await asyncio.sleep(TRICKLE_S)


async def _first_end(pumps: list[asyncio.Task[None]]) -> None:
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


def process_at(port: int) -> int:
    """The id of the process whose socket has the local `port`; 0 where it is not to be seen."""
    inode = _inode_at(port)
    if inode is None:
        return 0
    wanted = f"socket:[{inode}]"
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError), os.scandir(folder) as entries:
            if any(_target_of(entry) == wanted for entry in entries):
                return int(folder.parent.name)
    return 0


def _target_of(entry: os.DirEntry[str]) -> str:
    try:
        return str(Path(entry.path).readlink())
    except OSError:
        return ""


def _inode_at(port: int) -> str | None:
    """Fields of /proc/net/tcp, proc(5): the local address comes second, the inode tenth."""
    local = f":{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(local):
            return fields[9]
    return None

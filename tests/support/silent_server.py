"""A server that takes connections and never answers, as a broker does that hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

CLOSE_TIMEOUT_S: Final = 60.0


@asynccontextmanager
async def run_silent_server() -> AsyncIterator[str]:
    """Run the server, and yield its address, `host:port`. At the end the client must have closed a connection.

    Raises:
        TimeoutError: it did not within a minute.
    """
    closed = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        closed.set()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"
        await asyncio.wait_for(closed.wait(), CLOSE_TIMEOUT_S)

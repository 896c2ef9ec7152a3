"""Connect to a database for as long as one step of a command needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

CONNECT_S: Final = 10.0
STATEMENT_S: Final = 600.0


@asynccontextmanager
async def connect(url: str, *, timeout_s: float = CONNECT_S, **options: Any) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the database at `url` within `timeout_s` seconds; `options` are those of `asyncpg.connect`.

    Raises:
        OSError, asyncpg.PostgresError: it cannot be reached, or does not let us in.
    """
    connection = await asyncpg.connect(url, timeout=timeout_s, **options)
    try:
        yield connection
    finally:
        await connection.close(timeout=timeout_s)


@asynccontextmanager
async def snapshot(url: str, *, readonly: bool = True, **options: Any) -> AsyncIterator[asyncpg.Connection]:
    """Connect to a database and see one state of it throughout; a statement may take ten minutes."""
    async with (
        connect(url, command_timeout=STATEMENT_S, **options) as connection,
        connection.transaction(isolation="repeatable_read", readonly=readonly),
    ):
        yield connection

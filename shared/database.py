"""PostgreSQL pools as every service opens them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

import asyncpg
import stamina

COMMAND_TIMEOUT_S: Final = 30.0
"""No statement outlives this; a counted batch of 10,000 rows takes well under a second."""
START_S: Final = 60.0
PATIENCE_S: Final = 10.0


@stamina.retry(on=(OSError, TimeoutError, asyncpg.CannotConnectNowError), attempts=None, timeout=START_S, wait_max=2.0)
async def create_pool(url: str, *, application_name: str, min_size: int = 1, max_size: int = 4) -> asyncpg.Pool:
    """A pool on `url`; `application_name` is how the connections name themselves to the server.

    A server that is away or just starts is waited for, so that a long outage costs few starts of a process.

    Raises:
        OSError, asyncpg.PostgresError: the database could not be reached for a minute, or lets nobody in.
    """
    return await asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        timeout=10,
        command_timeout=COMMAND_TIMEOUT_S,
        max_inactive_connection_lifetime=300,
        server_settings={
            "application_name": application_name,
            "timezone": "UTC",
            "jit": "off",
            # A plan that was made while a table was all but empty would otherwise read all of it for as long as it is
            # kept, whatever the table has become: counting fell to a twentieth of its speed that way.
            "enable_seqscan": "off",
            # A process that was stopped in a transaction gives its locks back before those who wait for them give up.
            "idle_in_transaction_session_timeout": "10000",
            "lock_timeout": "20000",
            # A session whose other end is gone without a word, or takes nothing, ends within half a minute, and what it
            # held with it. The server ignores these on sockets that are not TCP.
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": "25000",
        },
    )


@asynccontextmanager
async def connected(pool: asyncpg.Pool, patience: float = PATIENCE_S) -> AsyncIterator[asyncpg.Connection]:
    """A connection of `pool`, waited for at most `patience` seconds; so long it may take to be given back, too.

    Raises:
        TimeoutError: none was free. OSError, asyncpg.PostgresError: a new one could not be made.
    """
    async with pool.acquire(timeout=patience) as connection:
        yield cast("asyncpg.Connection", connection)

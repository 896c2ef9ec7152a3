"""PostgreSQL pools as every service opens them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

import asyncpg
import stamina

from shared.outages import DATABASE_OUTAGES

COMMAND_TIMEOUT_S: Final = 30.0
"""No statement outlives this; a counted batch of 10,000 rows takes well under a second."""
CONNECT_TIMEOUT_S: Final = 60.0
ACQUIRE_TIMEOUT_S: Final = 10.0


def _is_outage(error: Exception) -> bool:
    """Whether the server may answer later; an address that makes no sense is a `ValueError` too."""
    return isinstance(error, DATABASE_OUTAGES) and not isinstance(error, ValueError)


@stamina.retry(on=_is_outage, attempts=None, timeout=CONNECT_TIMEOUT_S, wait_max=2.0)
async def create_pool(
    url: str, *, application_name: str, min_size: int = 1, max_size: int = 4, reads_tables_whole: bool = False
) -> asyncpg.Pool:
    """Create a pool on `url`, whose connections give `application_name` to the server.

    It waits for a server that is away or starting, so that a long outage costs few starts of a process. A pool whose
    statements write to growing tables must not read them whole: a plan made while a table was nearly empty would do so
    for as long as it is cached, however large the table is by then, and counting fell to a twentieth of its speed.

    Raises:
        OSError, asyncpg.PostgresError: the database could not be reached for a minute, or refuses the login.
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
            "enable_seqscan": "on" if reads_tables_whole else "off",
            # A process that was stopped in a transaction releases its locks before the waiting sessions give up.
            "idle_in_transaction_session_timeout": "10000",
            "lock_timeout": "20000",
            # A session whose peer has vanished or reads nothing ends within half a minute, and its locks with it. The
            # server ignores these settings on sockets that are not TCP.
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": "25000",
        },
    )


@asynccontextmanager
async def connected(pool: asyncpg.Pool, timeout_s: float = ACQUIRE_TIMEOUT_S) -> AsyncIterator[asyncpg.Connection]:
    """Acquire a connection of `pool` within `timeout_s` seconds; its release may take as long.

    Raises:
        TimeoutError: no connection was free. OSError, asyncpg.PostgresError: a new one could not be made.
    """
    async with pool.acquire(timeout=timeout_s) as connection:
        yield cast("asyncpg.Connection", connection)

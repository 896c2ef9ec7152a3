"""What is done to a system more than once: moments to strike at, and things to wait for."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from tests.faults import evidence
from tests.faults.load import UNAVAILABLE
from tests.faults.registry import Fire

SLOW: Final = bool(os.environ.get("SLOW"))
"""SLOW=1 takes the full times of the table where a scenario takes a shorter one."""
POLL_S: Final = 0.05
LEDGER: Final = "marathon-all"

_WAITS_AT_LOCK: Final = """
SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outbox'::regclass
"""


async def until(holds: Callable[[], Awaitable[object]], what: str, within: float = 60.0) -> None:
    """Wait until `holds()`."""
    deadline = time.monotonic() + within
    while not await holds():
        assert time.monotonic() < deadline, f"{what} did not come to be in {within:.0f} s"
        await asyncio.sleep(POLL_S)


@asynccontextmanager
async def transaction_held_open(fire: Fire, service: str = "petitions") -> AsyncIterator[asyncpg.Connection]:
    """Inside, a counter of `service` is in its transaction, its rows written and nothing committed.

    It waits at a lock on the outbox, which is let go of at the end.
    """
    async with evidence.database(fire.stand.databases[service]) as connection, connection.transaction():
        await connection.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")

        async def waits() -> object:
            return await connection.fetchval(_WAITS_AT_LOCK)

        await until(waits, "a counter in its transaction")
        yield connection


def must_have_said_so(fire: Fire) -> None:
    """By now the intake must have told somebody that it cannot keep its promise."""
    fire.must(fire.journal.answers[UNAVAILABLE], "H: nobody was answered 503")


async def must_show_the_board(fire: Fire, pid: int | None) -> None:
    """The public pages are still there, and the process `pid` that serves them is the same as before."""
    board = await asyncio.to_thread(evidence.board, fire.stand, fire.campaign)
    fire.must(board == "200", f"H: whoever looked at the board got {board}")
    fire.must(fire.stand.kept[LEDGER].pid == pid, "H: marathon did not outlive what was away")


async def counted(fire: Fire, more: int, within: float = 60.0) -> None:
    """Wait until so many more rows of the campaign's signatures are there than now."""
    source = evidence.SOURCES[0]

    async def count() -> int:
        async with evidence.database(fire.stand.databases[source.service]) as connection:
            found: int = await connection.fetchval(
                "SELECT count(*) FROM signatures JOIN dimensions ON dimensions.id = dimensions WHERE campaign = $1",
                fire.campaign,
            )
            return found

    wanted = await count() + more

    async def there() -> bool:
        return await count() >= wanted

    await until(there, f"{more} more rows", within)

"""What is done to a system more than once: moments to strike at, and things to wait for."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from tests.faults import evidence
from tests.faults.http import Client
from tests.faults.load import UNAVAILABLE
from tests.faults.registry import Fire

MARATHON: Final = "marathon-all"
SHOWN: Final = 200
PAGE_WITHIN_S: Final = 15.0
"""More than anybody waits for a database that is silent."""
SLOW: Final = bool(os.environ.get("SLOW"))
"""SLOW=1 takes the full times of the table where a scenario takes a shorter one."""
POLL_S: Final = 0.05

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


async def must_show_its_pages(fire: Fire, pid: int) -> None:
    """marathon, whose process was `pid`, must be the same still, show what it holds and say that this is old."""
    marathon, client = fire.stand.kept[MARATHON], Client(fire.stand.origin("marathon"))
    fire.must(marathon.pid == pid, "H: marathon did not outlive what it depends on")
    for path in ("/", f"/campaigns/{fire.campaign}", f"/campaigns/{fire.campaign}/board"):
        answer = await client.get(path, PAGE_WITHIN_S)
        fire.must(answer.status == SHOWN, f"H: marathon answers {answer.status} for a page that it could show")
    totals = json.loads((await client.get(f"/v1/campaigns/{fire.campaign}/totals", PAGE_WITHIN_S)).body)
    fire.must(totals["state"] == "catching_up", f"H: totals that nobody renews are called {totals['state']}")
    client.close()


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

"""Steps that several scenarios share: moments to strike at, and conditions to wait for."""

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
from tests.faults.registry import ScenarioRun

MARATHON: Final = "marathon-all"
OK: Final = 200
PAGE_TIMEOUT_S: Final = 15.0
"""Longer than any wait for a silent database."""
SLOW: Final = bool(os.environ.get("SLOW"))
"""SLOW=1 takes the full times of the table where a scenario takes a shorter one."""
POLL_S: Final = 0.05

_WAITS_AT_LOCK: Final = """
SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outbox'::regclass
"""


async def wait_until(condition: Callable[[], Awaitable[object]], description: str, within: float = 60.0) -> None:
    """Wait until `holds()`."""
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, f"{description} did not come to be in {within:.0f} s"
        await asyncio.sleep(POLL_S)


@asynccontextmanager
async def transaction_held_open(run: ScenarioRun, service: str = "petitions") -> AsyncIterator[asyncpg.Connection]:
    """Hold a counter of `service` in its transaction, with its rows written and nothing committed.

    It waits for a lock on the outbox, which is released at the end.
    """
    async with evidence.database(run.stand.databases[service]) as connection, connection.transaction():
        await connection.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")

        async def is_waiting() -> object:
            return await connection.fetchval(_WAITS_AT_LOCK)

        await wait_until(is_waiting, "a counter in its transaction")
        yield connection


def require_refusals(run: ScenarioRun) -> None:
    """Require that the intake has answered 503 by now."""
    run.require(run.journal.answers[UNAVAILABLE], "H: nobody was answered 503")


async def require_pages(run: ScenarioRun, pid: int) -> None:
    """Require that marathon, still the process `pid`, serves its pages and marks its totals as catching up."""
    marathon, client = run.stand.supervised[MARATHON], Client(run.stand.origin("marathon"))
    run.require(marathon.pid == pid, "H: marathon did not outlive what it depends on")
    for path in ("/", f"/campaigns/{run.campaign}", f"/campaigns/{run.campaign}/board"):
        response = await client.get(path, PAGE_TIMEOUT_S)
        run.require(response.status == OK, f"H: marathon answers {response.status} for a page that it could show")
    totals = json.loads((await client.get(f"/v1/campaigns/{run.campaign}/totals", PAGE_TIMEOUT_S)).body)
    run.require(totals["state"] == "catching_up", f"H: totals that nobody renews are called {totals['state']}")
    client.close()


async def wait_for_rows(run: ScenarioRun, more: int, within: float = 60.0) -> None:
    """Wait until the campaign's signatures have `more` rows than now."""
    source = evidence.SOURCES[0]

    async def count() -> int:
        async with evidence.database(run.stand.databases[source.service]) as connection:
            found: int = await connection.fetchval(
                "SELECT count(*) FROM signatures JOIN dimensions ON dimensions.id = dimensions WHERE campaign = $1",
                run.campaign,
            )
            return found

    target = await count() + more

    async def there() -> bool:
        return await count() >= target

    await wait_until(there, f"{more} more rows", within)


async def require_halted(run: ScenarioRun, counter: str, topic: str, partitions: int) -> None:
    """Require that so many partitions of `topic` halt and alarm in the process `counter`."""

    async def halted() -> bool:
        measured = await asyncio.to_thread(evidence.metric_values, run.stand, counter)
        alarms = [
            value
            for name, value in measured.items()
            if name.startswith("milleplumes_partition_halted") and topic in name
        ]
        return sum(alarms) == partitions

    try:
        await wait_until(halted, "every partition halted", run.expected.drain_within_s)
    except AssertionError:
        run.require(False, f"H: not every partition of {topic} halts and alarms")

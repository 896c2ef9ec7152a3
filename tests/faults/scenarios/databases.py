"""PostgreSQL that dies, refuses to write, fills its disk, stays away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from tests.faults import evidence
from tests.faults.nemeses import MARATHON, SLOW, require_pages
from tests.faults.registry import Sabotaged, ScenarioRun, scenario
from tests.faults.stand import DISKS

COUNTER: Final = "petitions-counter"
SECOND: Final = "petitions-counter-2"
AWAY_S: Final = 300.0 if SLOW else 50.0
"""Past every time-out and back-off of a service; SLOW=1 takes the five minutes of the table."""

_COMMITTING: Final = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'petitions counter%'
    AND state = 'active' AND (query ILIKE 'COMMIT%' OR wait_event IN ('WalSync', 'WALSync', 'WalWrite', 'WALWrite')))
"""
_DEADLOCKS: Final = "SELECT sum(deadlocks)::bigint FROM pg_stat_database"


@scenario(
    "killed-postgres",
    rows="15",
    smoke=True,
    without=(Sabotaged("position-before-rows", (COUNTER,), "AFG"),),
)
async def killed_postgres(run: ScenarioRun) -> None:
    """kill -9 of PostgreSQL in a COMMIT of the counter, and shortly after two others."""
    postgres = run.stand.supervised["postgres"]
    seen = []
    for latest in (0.0, 0.03, 0.1):
        seen.append(await _while_it_commits(run))
        await run.wait(run.chance.uniform(latest / 3, latest))
        postgres.kill()
        await run.wait(0.5)
        await postgres.wait_until_ready()
        await run.load.reach(100)
    run.require(any(seen), "G: the counter was never seen in a COMMIT")
    run.heal()


async def _while_it_commits(run: ScenarioRun) -> bool:
    """Return when the counter has just been seen in a COMMIT, or after two seconds of looking; whether it was seen."""
    async with evidence.database(run.stand.databases["petitions"]) as connection:
        with suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                while not await connection.fetchval(_COMMITTING):  # noqa: ASYNC110  the server tells nobody
                    await asyncio.sleep(0)
                return True
    return False


@scenario("read-only-postgres", rows="16", without=(Sabotaged("gives-up-in-silence", (COUNTER,), "AG"),))
async def read_only_postgres(run: ScenarioRun) -> None:
    """The primary turns read-only for 20 s, as after a failover that left the old connections standing."""
    async with evidence.database(run.stand.administrator) as connection:
        await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await connection.execute("SELECT pg_reload_conf()")
        await run.wait(20.0)
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await connection.execute("SELECT pg_reload_conf()")
    run.heal()


@scenario("postgres-away", rows="15", patience_s=AWAY_S + 120, without=(Sabotaged("places-once", (COUNTER,), "AG"),))
async def postgres_away(run: ScenarioRun) -> None:
    """PostgreSQL is gone; actions are taken all the same and counted afterwards, and pages are shown as before."""
    postgres, marathon = run.stand.supervised["postgres"], run.stand.supervised[MARATHON].pid
    await postgres.take_down()
    before = len(run.journal.acknowledged)
    await run.wait(AWAY_S)
    run.require(len(run.journal.acknowledged) > before + 500, "H: hardly anything was taken while PostgreSQL was away")
    await require_pages(run, marathon)
    await postgres.start()
    run.heal()


@scenario(
    "full-disk-under-postgres",
    rows="17",
    layout=DISKS,
    without=(Sabotaged("gives-up-in-silence", (COUNTER,), "AG"),),
)
async def full_disk_under_postgres(run: ScenarioRun) -> None:
    """Not one byte is free on PostgreSQL's disk for 20 s."""
    assert run.stand.postgres_disk is not None
    stop = asyncio.Event()
    filling = asyncio.create_task(_keep_full(run, stop))
    await run.wait(20.0)
    stop.set()
    await filling
    run.stand.postgres_disk.empty()
    await run.stand.supervised["postgres"].wait_until_ready()
    run.heal()


async def _keep_full(run: ScenarioRun, stop: asyncio.Event) -> None:
    assert run.stand.postgres_disk is not None
    while not stop.is_set():
        await asyncio.to_thread(run.stand.postgres_disk.fill)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await stop.wait()


@scenario(
    "hot-campaign",
    rows="19",
    rate=400,
    without=(Sabotaged("hot-row", (COUNTER, SECOND), "B"),),
)
async def hot_campaign(run: ScenarioRun) -> None:
    """Everybody acts for one case, two counters write side by side: no deadlocks."""
    second = run.stand.supervised[SECOND]
    async with evidence.database(run.stand.databases["petitions"]) as connection:
        before = await connection.fetchval(_DEADLOCKS)
        await second.start()
        await run.load.reach(3000)
        await run.wait(1.0)
        deadlocks = await connection.fetchval(_DEADLOCKS) - before
    run.require(deadlocks == 0, f"B: {deadlocks} deadlocks")
    await second.stop()
    run.heal()

"""What keeps the totals up to date while Kafka and PostgreSQL are away: it waits, says so, and ends no process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from prometheus_client import REGISTRY

from services.marathon.actions import publish_totals
from services.marathon.actions.announce import Announcements
from services.marathon.actions.publish_totals import Publisher
from services.marathon.consumers.ends import EndOffsets
from services.marathon.consumers.tallies import TallyReader
from services.marathon.domain.freshness import Reading
from shared.clock import SystemClock
from shared.database import create_pool
from shared.metrics import TOTALS_AGE
from tests.support.serving import until

NOBODY = "127.0.0.1:1"
"""Nothing listens there."""


class Asked:
    """End offsets from a broker that is away; says how often they were asked for."""

    def __init__(self, times: int) -> None:
        self.enough = asyncio.Event()
        self._ends = EndOffsets(NOBODY, SystemClock(), {"petitions.signatures.v1": 1})
        self._left = times

    async def read(self) -> Reading:
        self._left -= 1
        if self._left <= 0:
            self.enough.set()
        return await self._ends.read()

    async def close(self) -> None:
        await self._ends.close()


@pytest.fixture
async def pool() -> AsyncIterator[asyncpg.Pool]:
    """A pool on a database that is away."""
    pool = await create_pool(f"postgresql://nobody@{NOBODY}/none", application_name="test", min_size=0)
    yield pool
    await pool.close()


@asynccontextmanager
async def at_work(run: Callable[[], Awaitable[None]]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    ends = Asked(5)
    yield ends
    await ends.close()


async def test_a_publisher_waits_out_any_outage_and_says_so(
    pool: asyncpg.Pool, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_totals, "GIVE_UP_S", 0.0)
    monkeypatch.setattr(publish_totals, "EVERY_S", 0.01)
    publisher = Publisher(pool, asked, SystemClock(), Announcements())
    async with at_work(publisher.run) as running:
        await until(lambda: running.done() or asked.enough.is_set())
        assert not running.done(), running
        assert set(publisher.degraded()) == {"totals"}


async def test_the_age_of_the_totals_grows_while_nothing_is_published(
    pool: asyncpg.Pool, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_totals, "EVERY_S", 0.01)
    TOTALS_AGE.set(0)
    async with at_work(Publisher(pool, asked, SystemClock(), Announcements()).run):
        await until(asked.enough.is_set)
        assert (REGISTRY.get_sample_value("marathon_totals_age_seconds") or 0) > 0


async def test_a_reader_of_tallies_waits_out_any_outage_and_says_so(pool: asyncpg.Pool) -> None:
    reader = TallyReader(pool, NOBODY)
    async with at_work(reader.run) as running:
        await until(lambda: running.done() or reader.degraded())
        assert not running.done(), running
        assert set(reader.degraded()) == {"tally batches"}
        assert reader.missing() == {"tally batches": "not read yet"}

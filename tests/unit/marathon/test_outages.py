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
from shared.database import create_pool
from shared.metrics import TOTALS_AGE
from tests.support.serving import until

NOBODY = "127.0.0.1:1"
"""Nothing listens there."""
ROUNDS = 5


class Tireless(Publisher):
    """A publisher of no campaign's totals, which counts its rounds."""

    rounds = 0

    async def publish(self) -> None:
        self.rounds += 1
        await super().publish()

    def has_tried(self) -> bool:
        return self.rounds > ROUNDS


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
async def publisher(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tireless]:
    """A publisher without a broker, whose patience is short."""
    monkeypatch.setattr(publish_totals, "GIVE_UP_S", 0.0)
    monkeypatch.setattr(publish_totals, "EVERY_S", 0.01)
    ends = EndOffsets(NOBODY, {"petitions.signatures.v1": 1})
    yield Tireless(pool, ends, Announcements())
    await ends.close()


async def test_a_publisher_waits_out_any_outage_and_says_so(publisher: Tireless) -> None:
    async with at_work(publisher.run) as running:
        await until(lambda: running.done() or publisher.has_tried())
        assert not running.done(), running
        assert set(publisher.degraded()) == {"totals"}


async def test_the_age_of_the_totals_grows_while_nothing_is_published(publisher: Tireless) -> None:
    TOTALS_AGE.set(0)
    async with at_work(publisher.run):
        await until(publisher.has_tried)
        assert (REGISTRY.get_sample_value("marathon_totals_age_seconds") or 0) > 0


async def test_a_reader_of_tallies_waits_out_any_outage_and_says_so(pool: asyncpg.Pool) -> None:
    reader = TallyReader(pool, NOBODY)
    async with at_work(reader.run) as running:
        await until(lambda: running.done() or reader.degraded())
        assert not running.done(), running
        assert set(reader.degraded()) == {"tally batches"}
        assert reader.missing() == {"tally batches": "not read yet"}

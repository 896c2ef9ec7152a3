"""Publisher and tally reader while Kafka and PostgreSQL are away: they wait, report it, and do not end the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from prometheus_client import REGISTRY

from services.marathon.actions import publish_totals
from services.marathon.actions.publish_totals import Publisher
from services.marathon.consumers.end_offsets import EndOffsetReader
from services.marathon.consumers.tallies import tally_subscription
from shared.database import create_pool
from shared.kafka.subscription_reader import SubscriptionReader
from shared.metrics import TOTALS_AGE
from tests.support.serving import wait_until
from tests.support.tallies import LEDGER_KEY

UNREACHABLE = "127.0.0.1:1"
"""Nothing listens there."""
ROUNDS = 5


class CountingPublisher(Publisher):
    """A publisher without campaigns that counts its rounds."""

    rounds = 0

    async def publish(self) -> None:
        self.rounds += 1
        await super().publish()

    def has_retried(self) -> bool:
        return self.rounds > ROUNDS


@pytest.fixture
async def pool() -> AsyncIterator[asyncpg.Pool]:
    """A pool on a database that is away."""
    pool = await create_pool(f"postgresql://nobody@{UNREACHABLE}/none", application_name="test", min_size=0)
    yield pool
    await pool.close()


@asynccontextmanager
async def running_task(run: Callable[[], Awaitable[None]]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
async def publisher(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CountingPublisher]:
    """A publisher without a broker, with short timeouts."""
    monkeypatch.setattr(publish_totals, "GIVE_UP_AFTER_S", 0.0)
    monkeypatch.setattr(publish_totals, "PUBLISH_INTERVAL_S", 0.01)
    ends = EndOffsetReader(UNREACHABLE, {"petitions.signatures.v1": 1})
    yield CountingPublisher(pool, ends.read)
    await ends.close()


async def test_a_publisher_waits_out_any_outage_and_says_so(publisher: CountingPublisher) -> None:
    async with running_task(publisher.run) as running:
        await wait_until(lambda: running.done() or publisher.has_retried())
        assert not running.done(), running
        assert set(publisher.degraded()) == {"totals"}


async def test_the_age_of_the_totals_grows_while_nothing_is_published(publisher: CountingPublisher) -> None:
    TOTALS_AGE.set(0)
    async with running_task(publisher.run):
        await wait_until(publisher.has_retried)
        assert (REGISTRY.get_sample_value("milleplumes_marathon_totals_age_seconds") or 0) > 0


async def test_a_reader_of_tallies_waits_out_any_outage_and_says_so(pool: asyncpg.Pool) -> None:
    reader = SubscriptionReader(tally_subscription(LEDGER_KEY), pool, UNREACHABLE)
    async with running_task(reader.run) as running:
        await wait_until(lambda: running.done() or reader.degraded())
        assert not running.done(), running
        assert set(reader.degraded()) == {"tally batches"}
        assert reader.missing() == {"tally batches": "not read yet"}

"""Tally batches as a counter would send them, for tests of marathon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer

from services.marathon.consumers.tallies import GROUP, tally_subscription
from shared import topics
from shared.clock import rfc3339
from shared.database import create_pool
from shared.events.cloudevents import Envelope
from shared.events.tallies import ActionsCounted, Delta
from shared.kafka.subscription_reader import SubscriptionReader

SOURCE = "petitions.signatures.v1"
LEDGER_KEY = bytes(range(32))


def tally_reader(pool: asyncpg.Pool, bootstrap_servers: str, topic: str, group: str = GROUP) -> SubscriptionReader:
    """Return a reader of the tally batches on `topic`."""
    tallies = replace(topics.PETITIONS_TALLIES, name=topic)
    return SubscriptionReader(
        tally_subscription(LEDGER_KEY, tally_topics=[tallies], group=group), pool, bootstrap_servers
    )


def delta(campaign: str = "c", change: int = 1, **overrides: Any) -> Delta:
    """The change of one cell."""
    dimensions = {
        "case": "ana",
        "section": None,
        "kind": "signature",
        "channel": "web",
        "country": "FR",
        "language": "fr",
        "evidence": "recorded",
        "minute": int(time.time()) // 60,
    }
    return Delta(campaign=campaign, change=change, **{**dimensions, **overrides})


@dataclass
class Chain:
    """The tally batches of one source partition, in order."""

    partition: int = 0
    source: str = SOURCE
    epoch: int = 0
    next: int = 0

    def batch(self, *deltas: Delta, records: int = 10, accepted_until: float | None = None) -> ActionsCounted:
        """Return the next batch, which counts `records` records."""
        return self.parts(list(deltas), records=records, accepted_until=accepted_until)[0]

    def parts(
        self, *parts: list[Delta], records: int = 10, accepted_until: float | None = None
    ) -> list[ActionsCounted]:
        """Return the next batch in parts."""
        first, self.next = self.next, self.next + records
        now = time.time()
        return [
            ActionsCounted(
                source=self.source,
                epoch=self.epoch,
                partition=self.partition,
                first=first,
                next=self.next,
                part=part,
                parts=len(parts),
                counted_at=rfc3339(now),
                accepted_until=rfc3339(now if accepted_until is None else accepted_until),
                deltas=deltas,
            )
            for part, deltas in enumerate(parts)
        ]


@dataclass
class Sender:
    """Puts tally batches on `topic`."""

    producer: AIOKafkaProducer
    topic: str
    _envelope: Envelope = field(default_factory=lambda: Envelope("actions-counted", source="/test"))

    async def send(self, *batches: ActionsCounted) -> None:
        for batch in batches:
            await self.send_raw(msgspec.json.encode(batch), self._envelope.headers(rfc3339(time.time()).encode()))

    async def send_raw(self, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        await self.producer.send_and_wait(self.topic, value, key=b"source", partition=0, headers=headers)


@asynccontextmanager
async def sender(bootstrap_servers: str, topic: str) -> AsyncIterator[Sender]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        yield Sender(producer, topic)
    finally:
        await producer.stop()


@asynccontextmanager
async def pool_on(url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await create_pool(url, application_name="test")
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def running(reader: SubscriptionReader) -> AsyncIterator[asyncio.Task[None]]:
    """Run the reader in the background."""
    task = asyncio.create_task(reader.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def eventually(read: Callable[[], Awaitable[Any]], expected: Any, timeout_s: float = 30.0) -> None:
    """Wait until `read()` returns `expected`."""
    deadline = time.monotonic() + timeout_s
    while (value := await read()) != expected:
        assert time.monotonic() < deadline, f"{value!r} is not {expected!r} after {timeout_s} s"
        await asyncio.sleep(0.05)

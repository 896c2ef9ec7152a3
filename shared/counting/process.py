"""A counter process: one loop for each counted topic, and the relay of the outbox that they write to."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
from fastapi import FastAPI

from shared import migrations
from shared.clock import Clock, SystemClock
from shared.counting.batch_plan import BatchPlan
from shared.counting.counted_topic import CountedTopic
from shared.counting.counter import TopicCounter
from shared.database import connected, create_pool
from shared.http.service import create_app
from shared.kafka import topic_check
from shared.kafka.loop import PositionedLoop
from shared.kafka.outbox import OutboxRelay
from shared.kafka.refusal_limit import RefusalLimit
from shared.settings import ServiceSettings
from shared.tasks import Tasks

MAX_TRANSACTIONS: Final = 2
"""Concurrent transactions of one loop: while one waits for its commit or for Python, PostgreSQL executes the other."""


def counting_loop(
    counted: CountedTopic,
    pool: asyncpg.Pool,
    bootstrap_servers: str,
    clock: Clock,
    *,
    instance_id: str | None = None,
    dead_letter_limit: bool = True,
) -> PositionedLoop[BatchPlan]:
    """Create the loop of one topic. A process that restarts with its `instance_id` gets its partitions back.

    Without `dead_letter_limit` every record that cannot be decoded becomes a dead letter, however many there are.
    """
    counter = TopicCounter(counted, pool, clock, RefusalLimit(enabled=dead_letter_limit))
    return PositionedLoop(
        topics=[counted.topic.name],
        group=counted.group,
        pool=pool,
        bootstrap_servers=bootstrap_servers,
        prepare=counter.prepare,
        handle=counter.apply,
        on_committed=counter.record_metrics,
        handle_poison=counter.set_aside,
        instance_id=instance_id,
        max_transactions=MAX_TRANSACTIONS,
    )


def create_counter_app(settings: ServiceSettings, service: str, counted_topics: Sequence[CountedTopic]) -> FastAPI:
    """Create the application of a counter process of `service`: probes and metrics, and one counting loop per topic."""
    loops: list[PositionedLoop[BatchPlan]] = []

    def missing() -> Mapping[str, str]:
        if not loops:
            return {"counter": "not started yet"}
        return {part: reason for loop in loops for part, reason in loop.missing().items()}

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with _counting(settings, service, counted_topics) as started:
            loops.extend(started)
            yield

    return create_app(
        service=service,
        title=f"Milleplumes: the counter of {service}",
        settings=settings,
        lifespan=lifespan,
        routers=(),
        readiness=missing,
    )


@asynccontextmanager
async def _counting(
    settings: ServiceSettings, service: str, counted_topics: Sequence[CountedTopic]
) -> AsyncIterator[list[PositionedLoop[BatchPlan]]]:
    """Run the loops of `counted_topics` and the relay of the outbox that they write to."""
    servers = settings.kafka_bootstrap_servers
    await topic_check.check_topics_of(
        settings,
        [topic for counted in counted_topics for topic in (counted.topic, counted.dead_letters, counted.tallies)],
    )
    max_size = 2 + (2 + MAX_TRANSACTIONS) * len(counted_topics)
    pool = await create_pool(settings.database_url, application_name=f"{service} counter", max_size=max_size)
    try:
        async with connected(pool) as connection:
            await migrations.check(connection, service)
        name = f"{socket.gethostname()}-{settings.port}"
        limit = settings.dead_letter_limit == "on"
        loops = [
            counting_loop(counted, pool, servers, SystemClock(), instance_id=name, dead_letter_limit=limit)
            for counted in counted_topics
        ]
        async with Tasks() as tasks:
            tasks.start("outbox", OutboxRelay(pool, servers, service=service).run)
            for counted, loop in zip(counted_topics, loops, strict=True):
                tasks.start(f"counting {counted.table}", loop.run)
            yield loops
    finally:
        await pool.close()

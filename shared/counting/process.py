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


def create_counter_app(settings: ServiceSettings, service: str, counted: Sequence[CountedTopic]) -> FastAPI:
    """Create the application of a counter process of `service`: probes and metrics, and one counting loop per topic."""
    process = _CounterProcess(settings, service, counted)
    return create_app(
        service=service,
        title=f"Milleplumes: the counter of {service}",
        settings=settings,
        lifespan=process.lifespan,
        routers=(),
        readiness=process.missing,
    )


class _CounterProcess:
    def __init__(self, settings: ServiceSettings, service: str, counted: Sequence[CountedTopic]) -> None:
        self._settings = settings
        self._service = service
        self._counted = counted
        self._loops: list[PositionedLoop[BatchPlan]] = []

    def missing(self) -> Mapping[str, str]:
        if not self._loops:
            return {"counter": "not started yet"}
        return {part: reason for loop in self._loops for part, reason in loop.missing().items()}

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        settings = self._settings
        servers = settings.kafka_bootstrap_servers
        topics = [
            topic for counted in self._counted for topic in (counted.topic, counted.dead_letters, counted.tallies)
        ]
        await topic_check.check_topics_of(settings, topics)
        pool = await create_pool(
            settings.database_url,
            application_name=f"{self._service} counter",
            max_size=2 + (2 + MAX_TRANSACTIONS) * len(self._counted),
        )
        try:
            async with connected(pool) as connection:
                await migrations.check(connection, self._service)
            clock = SystemClock()
            name = f"{socket.gethostname()}-{settings.port}"
            limit = settings.dead_letter_limit == "on"
            self._loops = [
                counting_loop(counted, pool, servers, clock, instance_id=name, dead_letter_limit=limit)
                for counted in self._counted
            ]
            async with Tasks() as tasks:
                tasks.start("outbox", OutboxRelay(pool, servers, service=self._service).run)
                for counted, loop in zip(self._counted, self._loops, strict=True):
                    tasks.start(f"counting {counted.table}", loop.run)
                yield
        finally:
            await pool.close()

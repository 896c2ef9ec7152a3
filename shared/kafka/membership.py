"""The consumer by which a loop is a member of its group, and what it waits for before it reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from shared.database import connected
from shared.errors import SetupError, TransientError
from shared.kafka.assignments import Assignments
from shared.kafka.positions import ensure_positions
from shared.kafka.writes import Writes
from shared.logging import log
from shared.outages import OUTAGES, retry_on_outage

MAX_OUTAGE_S: Final = 600.0
"""How long Kafka or PostgreSQL may be away before the process gives up."""
MAX_UNANSWERED: Final = 2
"""Requests in a row, each of 15 s, that Kafka may leave unanswered. After an outage one client may get no more answers
while others do: a new process has a new client.
"""
REVOKE_TIMEOUT_S: Final = 10.0


class RebalanceListener(ConsumerRebalanceListener):
    """Passes rebalances to the assignments. Transactions end first, so that the next owner need not repeat them."""

    def __init__(self, assignments: Assignments, writes: Writes) -> None:
        self._assignments = assignments
        self._writes = writes

    async def on_partitions_revoked(self, _revoked: Iterable[TopicPartition]) -> None:
        self._assignments.on_rebalance()
        await self._writes.finish(REVOKE_TIMEOUT_S)

    async def on_partitions_assigned(self, _assigned: Iterable[TopicPartition]) -> None:
        self._assignments.on_rebalance()
        self._assignments.assigned = True


async def create_positions(consumer: AIOKafkaConsumer, pool: asyncpg.Pool, group: str, topics: Iterable[str]) -> None:
    """Create the positions of `group` in `topics`, unless it has them.

    Raises:
        SetupError: a topic is missing, or has another number of partitions than its positions.
    """
    for topic in topics:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise SetupError(f"Kafka has no topic {topic}")
        async with connected(pool) as connection:
            await ensure_positions(connection, group, topic, len(partitions))


async def wait_out_outages(attempt: Callable[[], Awaitable[None]]) -> None:
    """Call `attempt` until it returns, retrying while Kafka or PostgreSQL is away.

    Raises:
        TransientError: they were away for ten minutes, or Kafka accepted requests and did not answer.
    """
    unanswered = 0

    def on_outage(error: Exception) -> None:
        nonlocal unanswered
        unanswered = unanswered + 1 if isinstance(error, KafkaTimeoutError) else 0
        if unanswered == MAX_UNANSWERED:
            raise TransientError("Kafka takes requests and does not answer") from error
        log.warning("waiting for Kafka or PostgreSQL", failure=type(error).__name__)

    await retry_on_outage(attempt, on_outage, outages=(*OUTAGES, asyncpg.PostgresError), give_up_s=MAX_OUTAGE_S)


def create_consumer(bootstrap_servers: str, group: str, instance_id: str | None) -> AIOKafkaConsumer:
    """Create the consumer of a loop."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=group,
        group_instance_id=instance_id,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        session_timeout_ms=10_000,
        heartbeat_interval_ms=2_000,
        request_timeout_ms=15_000,
        retry_backoff_ms=200,
        # A topic that was deleted and created again, by a wiped broker for example, is noticed within this time.
        metadata_max_age_ms=15_000,
    )

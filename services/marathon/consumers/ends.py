"""The end offsets of the counted topics: what there is to be counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.marathon.domain.freshness import Reading
from services.marathon.domain.ledger import SourcePartition
from shared.clock import Clock

ANSWER_S: Final = 5.0


class EndOffsets:
    """Asks the broker for the end of every partition of the counted topics, for one caller; reconnects by itself.

    `partitions` is their number by topic, which is fixed for a topic's life and checked at start.
    """

    def __init__(self, bootstrap_servers: str, clock: Clock, partitions: Mapping[str, int]) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._clock = clock
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions = [
            TopicPartition(topic, partition) for topic, count in partitions.items() for partition in range(count)
        ]

    async def read(self) -> Reading:
        """The end of every source partition, as of a moment no earlier than `at`.

        Raises:
            KafkaError, OSError, TimeoutError: the broker does not tell; the next call connects anew.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                consumer = self._consumer or await self._connect()
                at = self._clock.now()
                ends = await consumer.end_offsets(self._partitions)
        except (KafkaError, OSError, TimeoutError):
            await self.close()
            raise
        return Reading(at, {SourcePartition(each.topic, each.partition): end for each, end in ends.items()})

    async def _connect(self) -> AIOKafkaConsumer:
        # Kept before it has started, so that one that never does is closed too.
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers, enable_auto_commit=False, request_timeout_ms=10_000
        )
        await self._consumer.start()
        return self._consumer

    async def close(self) -> None:
        """Leave the broker."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await consumer.stop()

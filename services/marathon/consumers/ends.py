"""The end offsets of the counted topics: what there is to be counted, dated by the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from services.marathon.domain.freshness import Reading
from services.marathon.domain.ledger import SourcePartition
from shared import topics
from shared.errors import TransientError
from shared.kafka.producer import stop
from shared.kafka.producer_batches import BROKERS_TIME

ANSWER_S: Final = 5.0
REQUEST_MS: Final = 10_000


class EndOffsets:
    """Asks the broker for the end of every partition of the counted topics, for one caller; reconnects by itself.

    `partitions` is their number by topic, which is fixed for a topic's life and checked at start. What time it is says
    the broker, by the acknowledgement of an empty record: its clock is the time of acceptance, and ours may be wrong.
    """

    def __init__(self, bootstrap_servers: str, partitions: Mapping[str, int]) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._consumer: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None
        self._partitions = [
            TopicPartition(topic, partition) for topic, count in partitions.items() for partition in range(count)
        ]

    async def read(self) -> Reading:
        """The end of every source partition, as of a moment no earlier than `at`.

        Raises:
            KafkaError, OSError, TimeoutError: the broker does not tell; the next call connects anew.
            TransientError: it does not put its own time on records.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                producer = self._producer or await self._connect_producer()
                consumer = self._consumer or await self._connect_consumer()
                probe = await producer.send_and_wait(topics.MARATHON_PROBES.name, b"{}", partition=0)
                ends = await consumer.end_offsets(self._partitions)
        except (KafkaError, OSError, TimeoutError):
            await self.close()
            raise
        if probe.timestamp_type != BROKERS_TIME or probe.timestamp is None:
            raise TransientError("the broker does not put its own time on records")
        at = probe.timestamp / 1000
        return Reading(at, {SourcePartition(each.topic, each.partition): end for each, end in ends.items()})

    # Kept before they have started, so that one that never does is closed too.

    async def _connect_consumer(self) -> AIOKafkaConsumer:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers, enable_auto_commit=False, request_timeout_ms=REQUEST_MS
        )
        await self._consumer.start()
        return self._consumer

    async def _connect_producer(self) -> AIOKafkaProducer:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers, acks="all", request_timeout_ms=REQUEST_MS
        )
        await self._producer.start()
        return self._producer

    async def close(self) -> None:
        """Leave the broker."""
        consumer, self._consumer = self._consumer, None
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop(producer)
        if consumer is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await consumer.stop()

"""The end offsets of the counted topics, dated by the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from services.marathon.domain.freshness import EndOffsets
from services.marathon.domain.ledger import SourcePartition
from shared import topics
from shared.errors import TransientError
from shared.kafka.producer import stop_producer
from shared.kafka.producer_batches import LOG_APPEND_TIME

ANSWER_TIMEOUT_S: Final = 5.0
REQUEST_TIMEOUT_MS: Final = 10_000


class EndOffsetReader:
    """Reads the end offset of every partition of the counted topics, for one caller; reconnects by itself.

    `partitions` is the number of partitions by topic, which is fixed for a topic's life and checked at start. The time
    is the broker's, taken from the acknowledgement of an empty record: acceptance is timed by its clock, and the local
    clock may be wrong.
    """

    def __init__(self, bootstrap_servers: str, partitions: Mapping[str, int]) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._consumer: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None
        self._partitions = [
            TopicPartition(topic, partition) for topic, count in partitions.items() for partition in range(count)
        ]

    async def read(self) -> EndOffsets:
        """Return the end offset of every source partition, as of `read_at` or later.

        Raises:
            KafkaError, OSError, TimeoutError: the broker does not answer; the next call reconnects.
            TransientError: the broker does not put its own time on records.
        """
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                producer = self._producer or await self._connect_producer()
                consumer = self._consumer or await self._connect_consumer()
                probe = await producer.send_and_wait(topics.MARATHON_PROBES.name, b"{}", partition=0)
                ends = await consumer.end_offsets(self._partitions)
        except (KafkaError, OSError, TimeoutError):
            await self.close()
            raise
        if probe.timestamp_type != LOG_APPEND_TIME or probe.timestamp is None:
            raise TransientError("the broker does not put its own time on records")
        read_at = probe.timestamp / 1000
        return EndOffsets(read_at, {SourcePartition(each.topic, each.partition): end for each, end in ends.items()})

    # Both are stored before they start, so that `close` also closes one that never started.

    async def _connect_consumer(self) -> AIOKafkaConsumer:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers, enable_auto_commit=False, request_timeout_ms=REQUEST_TIMEOUT_MS
        )
        await self._consumer.start()
        return self._consumer

    async def _connect_producer(self) -> AIOKafkaProducer:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers, acks="all", request_timeout_ms=REQUEST_TIMEOUT_MS
        )
        await self._producer.start()
        return self._producer

    async def close(self) -> None:
        """Disconnect from the broker."""
        consumer, self._consumer = self._consumer, None
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_producer(producer)
        if consumer is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    await consumer.stop()

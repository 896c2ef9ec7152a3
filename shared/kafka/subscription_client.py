"""A FastStream client of one subscription: it delivers records, and leaves decoding and positions to its reader."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from faststream.kafka.message import KafkaAckableMessage

from shared.kafka.consumer_shutdown import shut_down, start_whole
from shared.kafka.records import PartitionBatch, Record, pack_headers
from shared.kafka.subscription import Subscription

MAX_RECORDS: Final = 500
BATCH_TIMEOUT_MS: Final = 50
MIN_TRANSACTION_INTERVAL_S: Final = 0.1
"""Records that arrive within this time share a transaction."""
METADATA_MAX_AGE_MS: Final = 15_000
"""A topic that was deleted and created again is noticed within this time (the default is five minutes)."""
REQUEST_TIMEOUT_MS: Final = 15_000

Handle = Callable[[Sequence[PartitionBatch]], Awaitable[bool]]


class SubscriptionClient:
    """Delivers the records of `subscription` to `handle`, which returns whether it has handled all of them."""

    def __init__(self, subscription: Subscription, bootstrap_servers: str, handle: Handle) -> None:
        self._handle = handle
        # FastStream takes a string as one address, even when it lists several.
        self._broker = KafkaBroker(
            bootstrap_servers.split(","),
            consumer_only=True,
            allow_auto_create_topics=False,
            logger=None,
            graceful_timeout=10.0,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        self._subscriber = self._broker.subscriber(
            *(topic.name for topic in subscription.topics),
            group_id=subscription.group,
            batch=True,
            max_records=MAX_RECORDS,
            batch_timeout_ms=BATCH_TIMEOUT_MS,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            parser=self._parse,
            decoder=_skip_decoding,
            session_timeout_ms=10_000,
        )
        self._subscriber(self._deliver)

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """The consumer of a started client."""
        consumer = self._subscriber.consumer
        assert consumer is not None  # noqa: S101  it is started
        return consumer

    async def start(self) -> None:
        """Connect, and deliver from now on.

        Raises:
            KafkaError, OSError: Kafka does not answer.
        """
        await start_whole(self._broker.start())

    async def stop(self) -> None:
        """Deliver no more, and disconnect, in bounded time."""
        if self._subscriber.consumer is not None:
            await shut_down(self._subscriber.consumer, self._broker.stop())

    async def _parse(self, records: tuple[ConsumerRecord[bytes, bytes], ...]) -> KafkaAckableMessage:
        # FastStream's own parser decodes header values as UTF-8 and fails on others.
        return KafkaAckableMessage(body=b"", headers={}, raw_message=records, consumer=self.consumer)

    async def _deliver(self, message: KafkaMessage) -> None:
        started_at = time.monotonic()
        records: Any = message.raw_message
        by_partition = groupby(records, key=lambda record: TopicPartition(record.topic, record.partition))
        if await self._handle([_to_batch(tp, group) for tp, group in by_partition]):
            with suppress(KafkaError):
                await message.ack()
            await asyncio.sleep(max(0.0, started_at + MIN_TRANSACTION_INTERVAL_S - time.monotonic()))


async def _skip_decoding(message: KafkaMessage) -> None:
    """Decode nothing: the subscription decodes the records."""


def _to_batch(tp: TopicPartition, records: Any) -> PartitionBatch:
    converted = [
        Record(record.offset, record.timestamp, record.key, record.value, pack_headers(record.headers))
        for record in records
    ]
    return PartitionBatch(tp.topic, tp.partition, 0, converted)

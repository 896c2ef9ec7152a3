"""The queue of one partition: batches of records that are not acknowledged yet, and the listeners of each record."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from shared.kafka.producer import ReplaceableProducer
from shared.logging import log


class AckListener(Protocol):
    """A listener for the outcome of one record. Exactly one of the two is called, once."""

    def on_acknowledged(self, partition: int, offset: int) -> None:
        """Handle that the broker has stored the record at `offset` of `partition`."""
        ...

    def on_failed(self) -> None:
        """Handle that nothing is known to be stored."""
        ...


class ProducerBatch:
    """Records of one partition that are sent together, and their listeners in the same order."""

    __slots__ = ("ack", "builder", "listeners", "opened_at", "producer", "sent_at", "size")

    def __init__(self, builder: BatchBuilder, opened_at: float) -> None:
        self.builder = builder
        self.opened_at = opened_at
        self.size = 0
        self.listeners: list[AckListener] = []
        self.producer: AIOKafkaProducer | None = None
        self.sent_at = 0.0
        self.ack: asyncio.Future[RecordMetadata] | None = None

    def fail(self) -> None:
        """Notify every listener that nothing is known to be stored."""
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            try:
                listener.on_failed()
            except Exception:  # noqa: BLE001  the other listeners are still notified
                log.exception("a waiter could not be told")

    def acknowledge(self, partition: int, base: int) -> None:
        """Notify every listener of its record's offset: `base` for the first, the next offset for each that follows."""
        listeners, self.listeners = self.listeners, []
        for offset, listener in enumerate(listeners, base):
            try:
                listener.on_acknowledged(partition, offset)
            except Exception:  # noqa: BLE001  the other listeners are still notified
                log.exception("a waiter could not be told")


class PartitionQueue:
    """The batches of one partition: the one that is filling, the full ones and those in flight."""

    __slots__ = ("backlog", "filling", "full", "in_flight", "partition", "producer", "stalled")

    def __init__(self, partition: int, producer: ReplaceableProducer) -> None:
        self.partition = partition
        self.producer = producer
        self.filling: ProducerBatch | None = None
        self.full: deque[ProducerBatch] = deque()
        self.in_flight: set[ProducerBatch] = set()
        self.backlog = 0
        self.stalled = False

    def unacknowledged(self) -> list[ProducerBatch]:
        """Return every batch of this queue; those that are not in flight come oldest first."""
        return [*self.in_flight, *self.full, *((self.filling,) if self.filling else ())]

"""What waits on the way to one partition: records in windows, and whoever waits for them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from shared.kafka.producer import AIOKafkaProducer, BatchBuilder, RecordMetadata, ReplaceableProducer
from shared.logging import log


class Waiter(Protocol):
    """Who waits for one record. Exactly one of the two is called, once."""

    def acknowledged(self, partition: int, offset: int) -> None:
        """The broker has the record, at `offset` of `partition`."""
        ...

    def failed(self) -> None:
        """Nothing is known to be stored."""
        ...


class ProducerBatch:
    """Records of one partition that travel together, and who waits for each of them, in the same order."""

    __slots__ = ("batch", "opened", "producer", "sent_at", "size", "stored", "waiters")

    def __init__(self, batch: BatchBuilder, opened: float) -> None:
        self.batch = batch
        self.opened = opened
        self.size = 0
        self.waiters: list[Waiter] = []
        self.producer: AIOKafkaProducer | None = None
        self.sent_at = 0.0
        self.stored: asyncio.Future[RecordMetadata] | None = None

    def fail(self) -> None:
        """Tell everybody that nothing is known to be stored."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            try:
                waiter.failed()
            except Exception:  # noqa: BLE001  one waiter's fault is not the others'
                log.exception("a waiter could not be told")

    def acknowledge(self, partition: int, base: int) -> None:
        """Tell everybody where their record is: the first at offset `base`, the others behind it."""
        waiters, self.waiters = self.waiters, []
        for offset, waiter in enumerate(waiters, base):
            try:
                waiter.acknowledged(partition, offset)
            except Exception:  # noqa: BLE001  one waiter's fault is not the others'
                log.exception("a waiter could not be told")


class PartitionQueue:
    """One partition: the window that is filling, those that are full, those on their way."""

    __slots__ = ("backlog", "filling", "full", "partition", "producer", "sent", "stalled")

    def __init__(self, partition: int, producer: ReplaceableProducer) -> None:
        self.partition = partition
        self.producer = producer
        self.filling: ProducerBatch | None = None
        self.full: deque[ProducerBatch] = deque()
        self.sent: set[ProducerBatch] = set()
        self.backlog = 0
        self.stalled = False

    def waiting(self) -> list[ProducerBatch]:
        """Every window of this lane, oldest first where order matters."""
        return [*self.sent, *self.full, *((self.filling,) if self.filling else ())]

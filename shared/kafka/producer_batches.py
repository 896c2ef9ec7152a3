"""Producer batches: records of a few milliseconds are sent in one batch per partition and acknowledged together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiokafka.structs import RecordMetadata
from prometheus_client import Counter

from shared import metrics
from shared.kafka.broker_time import BrokerTime
from shared.kafka.partition_queue import AckListener, PartitionQueue, ProducerBatch
from shared.kafka.producer import MAX_BATCH_BYTES, ReplaceableProducer
from shared.logging import log
from shared.topics import Topic

Headers = Sequence[tuple[str, bytes]]

LINGER_SECONDS: Final = 0.004
MAX_IN_FLIGHT: Final = 1
"""Batches of one partition that are with the producer. aiokafka sends a broker one request at a time, so later records
had better fill the next batch, which is sent when the acknowledgement comes."""
DEADLINE_SECONDS: Final = 5.0
"""After this long without an acknowledgement the listeners are notified that nothing is known to be stored."""
ABANDON_SECONDS: Final = 15.0
"""After this long the producer itself is taken to be stuck and is replaced."""
SWEEP_INTERVAL_SECONDS: Final = 0.1
LOG_APPEND_TIME: Final = 1
"""Kafka's type of a timestamp that the broker has set (`LogAppendTime`)."""
MAX_BACKLOG_BYTES: Final = 48 * 1024 * 1024
MIN_BACKLOG_BYTES: Final = 1024 * 1024
MAX_RECORD_BYTES: Final = 512 * 1024
"""A larger record is refused before it reaches a producer, because a batch always takes its first record."""


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """Timing and bounds of batches; tests set shorter ones. `max_backlog_bytes` is for all partitions together."""

    linger_seconds: float = LINGER_SECONDS
    max_in_flight: int = MAX_IN_FLIGHT
    deadline_seconds: float = DEADLINE_SECONDS
    abandon_seconds: float = ABANDON_SECONDS
    max_backlog_bytes: int = MAX_BACKLOG_BYTES


class ProducerBatches:
    """Gathers the records of one topic into batches and notifies each listener of the outcome of its record.

    Its partitions are divided among `producers`, and each keeps its producer. A partition whose oldest batch is past
    its deadline, or whose backlog is full, refuses new records at once.
    """

    def __init__(
        self,
        topic: Topic,
        partitions: int,
        producers: Sequence[ReplaceableProducer],
        broker_time: BrokerTime,
        timing: BatchTiming | None = None,
    ) -> None:
        self.topic = topic
        self.partitions = partitions
        self._timing = timing or BatchTiming()
        self._broker_time = broker_time
        self._loop = asyncio.get_running_loop()
        self._queues = [
            PartitionQueue(partition, producers[partition % len(producers)]) for partition in range(partitions)
        ]
        self._max_backlog = max(MIN_BACKLOG_BYTES, self._timing.max_backlog_bytes // partitions)
        self._tick_scheduled = False
        self._acknowledged_total = metrics.INTAKE_ACKNOWLEDGED.labels(topic=topic.name)
        self._batch_seconds = metrics.WINDOW_SECONDS.labels(topic=topic.name)
        self._batch_records = metrics.WINDOW_RECORDS.labels(topic=topic.name)
        for queue in self._queues:
            gauge = metrics.INTAKE_BACKLOG.labels(topic=topic.name, partition=str(queue.partition))
            gauge.set_function(lambda queue=queue: queue.backlog)  # type: ignore[misc]

    def append(self, partition: int, key: bytes, value: bytes, headers: Headers, listener: AckListener) -> bool:
        """Append one record to the batch of `partition`; `listener` is notified later, never during this call.

        Returns:
            False where the record is refused: nothing was appended, and `listener` is not called.
        """
        queue = self._queues[partition]
        available = queue.producer.available
        if queue.stalled or queue.backlog > self._max_backlog or len(value) > MAX_RECORD_BYTES or not available:
            self._refusals("producer" if not available else "stalled" if queue.stalled else "backlog").inc()
            return False
        batch = queue.filling or self._open(queue)
        appended = batch.builder.append(timestamp=None, key=key, value=value, headers=headers)
        if appended is None:
            queue.full.append(batch)
            batch = self._open(queue)
            appended = batch.builder.append(timestamp=None, key=key, value=value, headers=headers)
        batch.listeners.append(listener)
        batch.size += appended.size
        queue.backlog += appended.size
        return True

    async def append_and_wait(self, partition: int, key: bytes, value: bytes, headers: Headers) -> int:
        """Append one record and wait for its offset.

        Raises:
            ConnectionError: refused, or not acknowledged in time.
        """
        listener = _AckFuture(self._loop)
        if not self.append(partition, key, value, headers, listener):
            raise ConnectionError("refused: the partition has a backlog")
        return await listener.future

    async def run(self) -> None:
        """Enforce the deadlines until cancelled. A supervised task of the process."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_SECONDS)
            now = self._loop.time()
            for queue in self._queues:
                self._sweep(queue, now)

    async def close(self) -> None:
        """Send the pending batches and notify every listener, within the deadline. Nothing may be appended after it."""
        end = self._loop.time() + self._timing.deadline_seconds
        while self._loop.time() < end and any(queue.unacknowledged() for queue in self._queues):
            for queue in self._queues:
                self._send_ready(queue)
            acks = [batch.ack for queue in self._queues for batch in queue.in_flight if batch.ack is not None]
            await asyncio.wait(acks, timeout=SWEEP_INTERVAL_SECONDS) if acks else await asyncio.sleep(
                SWEEP_INTERVAL_SECONDS
            )
        for queue in self._queues:
            for batch in queue.unacknowledged():
                batch.fail()

    def _open(self, queue: PartitionQueue) -> ProducerBatch:
        batch = queue.filling = ProducerBatch(queue.producer.create_batch(), self._loop.time())
        if not self._tick_scheduled:
            self._tick_scheduled = True
            self._loop.call_later(self._timing.linger_seconds, self._tick)
        return batch

    def _tick(self) -> None:
        self._tick_scheduled = False
        for queue in self._queues:
            if queue.filling is not None:
                self._send_ready(queue)

    def _send_ready(self, queue: PartitionQueue) -> None:
        """Hand batches to the producer while fewer than `max_in_flight` are with it; the others wait."""
        while len(queue.in_flight) < self._timing.max_in_flight:
            if queue.full:
                batch = queue.full.popleft()
            elif queue.filling is not None:
                batch, queue.filling = queue.filling, None
            else:
                return
            self._send(queue, batch)

    def _send(self, queue: PartitionQueue, batch: ProducerBatch) -> None:
        try:
            if batch.builder.size() > MAX_BATCH_BYTES:
                raise ConnectionError("a batch is too large to send")
            batch.producer = queue.producer.current()
            batch.sent_at = self._broker_time.local_now()
            batch.ack = queue.producer.send(batch.builder, self.topic.name, queue.partition)
        except ConnectionError as error:
            queue.backlog -= batch.size
            self._fail(queue, batch, error)
            return
        queue.in_flight.add(batch)
        batch.ack.add_done_callback(partial(self._on_ack, queue, batch))

    def _on_ack(self, queue: PartitionQueue, batch: ProducerBatch, ack: asyncio.Future[RecordMetadata]) -> None:
        """Notify the listeners of `batch`, and send the next batches of the queue."""
        if batch not in queue.in_flight:
            return  # abandoned earlier
        queue.in_flight.discard(batch)
        queue.backlog -= batch.size
        queue.stalled = False
        error = ack.exception() if not ack.cancelled() else ConnectionError("cancelled")
        metadata = ack.result() if error is None else None
        if error is not None:
            queue.producer.replace(batch.producer, type(error).__name__)
            self._fail(queue, batch, error)
        elif metadata is None or metadata.offset < 0:
            self._fail(queue, batch, ConnectionError("acknowledged without an offset"))
        else:
            self._acknowledge(queue, batch, metadata)
        if not self._tick_scheduled:
            self._send_ready(queue)

    def _acknowledge(self, queue: PartitionQueue, batch: ProducerBatch, metadata: RecordMetadata) -> None:
        if metadata.timestamp_type == LOG_APPEND_TIME and metadata.timestamp is not None:
            now = self._broker_time.local_now()
            self._broker_time.observe(sent=batch.sent_at, acknowledged=now, appended=metadata.timestamp / 1000)
        self._acknowledged_total.inc(len(batch.listeners))
        self._batch_seconds.observe(self._loop.time() - batch.opened_at)
        self._batch_records.observe(len(batch.listeners))
        batch.acknowledge(queue.partition, metadata.offset)

    def _fail(self, queue: PartitionQueue, batch: ProducerBatch, error: BaseException) -> None:
        log.warning("window failed", topic=self.topic.name, partition=queue.partition, error=type(error).__name__)
        self._refusals("failed").inc(len(batch.listeners))
        batch.fail()

    def _sweep(self, queue: PartitionQueue, now: float) -> None:
        opened_before = now - self._timing.deadline_seconds
        for batch in queue.unacknowledged():
            if batch.opened_at > opened_before:
                continue
            if batch.listeners:
                log.warning("window not acknowledged in time", topic=self.topic.name, partition=queue.partition)
                self._refusals("deadline").inc(len(batch.listeners))
                batch.fail()
            if batch not in queue.in_flight:
                self._drop(queue, batch)
            elif batch.opened_at > now - self._timing.abandon_seconds:
                queue.stalled = True
            else:
                self._abandon(queue, batch)

    def _drop(self, queue: PartitionQueue, batch: ProducerBatch) -> None:
        """Drop a batch that was never sent; its listeners have been notified."""
        if batch is queue.filling:
            queue.filling = None
        else:
            queue.full.remove(batch)
        queue.backlog -= batch.size

    def _abandon(self, queue: PartitionQueue, batch: ProducerBatch) -> None:
        """Give `batch` up and replace its producer, which is stuck; the listeners were notified long ago."""
        queue.in_flight.discard(batch)
        queue.backlog -= batch.size
        queue.stalled = False
        queue.producer.replace(batch.producer, "stuck")

    def _refusals(self, reason: str) -> Counter:
        return metrics.INTAKE_UNAVAILABLE.labels(topic=self.topic.name, reason=reason)


class _AckFuture:
    """A listener with a future to await."""

    __slots__ = ("future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[int] = loop.create_future()

    def on_acknowledged(self, partition: int, offset: int) -> None:  # noqa: ARG002
        if not self.future.done():
            self.future.set_result(offset)

    def on_failed(self) -> None:
        if not self.future.done():
            self.future.set_exception(ConnectionError("not acknowledged"))

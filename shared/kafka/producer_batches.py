"""Produce windows: records of a few milliseconds travel in one batch per partition and are acknowledged together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from prometheus_client import Counter

from shared import metrics
from shared.kafka.broker_time import BrokerTime
from shared.kafka.partition_queue import PartitionQueue, ProducerBatch, Waiter
from shared.kafka.producer import MAX_BATCH_BYTES, RecordMetadata, ReplaceableProducer
from shared.logging import log
from shared.topics import Topic

Headers = Sequence[tuple[str, bytes]]

WINDOW_SECONDS: Final = 0.004
IN_FLIGHT: Final = 1
"""Windows of one partition that are with the producer. aiokafka speaks with a broker one request at a time, so records
that come meanwhile had better fill the next window: it leaves with the acknowledgement."""
DEADLINE_SECONDS: Final = 5.0
"""After this long without an acknowledgement whoever waits is told that nothing is known to be stored."""
ABANDON_SECONDS: Final = 15.0
"""After this long the producer itself is taken to be stuck and is replaced."""
SWEEP_SECONDS: Final = 0.1
BROKERS_TIME: Final = 1
"""Kafka's mark of a timestamp that the broker has set (`LogAppendTime`)."""
BACKLOG_BYTES: Final = 48 * 1024 * 1024
LEAST_BACKLOG_BYTES: Final = 1024 * 1024
MAX_RECORD_BYTES: Final = 512 * 1024
"""Above this a record is refused before it comes near a producer: a batch always takes its first record."""


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """How windows are timed and bounded; tests set it shorter. `backlog_bytes` is for all partitions together."""

    window_seconds: float = WINDOW_SECONDS
    in_flight: int = IN_FLIGHT
    deadline_seconds: float = DEADLINE_SECONDS
    abandon_seconds: float = ABANDON_SECONDS
    backlog_bytes: int = BACKLOG_BYTES


class ProducerBatches:
    """Gathers the records of one topic into windows and tells each waiter what became of its record.

    Its partitions are dealt out to `producers`, and each stays with its own. A partition whose oldest window is
    past its deadline, or whose backlog is full, refuses new records at once.
    """

    def __init__(
        self,
        topic: Topic,
        partitions: int,
        producers: Sequence[ReplaceableProducer],
        broker_time: BrokerTime,
        pace: BatchTiming | None = None,
    ) -> None:
        self.topic = topic
        self.partitions = partitions
        self._pace = pace or BatchTiming()
        self._broker_time = broker_time
        self._loop = asyncio.get_running_loop()
        self._lanes = [
            PartitionQueue(partition, producers[partition % len(producers)]) for partition in range(partitions)
        ]
        self._limit = max(LEAST_BACKLOG_BYTES, self._pace.backlog_bytes // partitions)
        self._ticking = False
        self._accepted = metrics.INTAKE_ACKNOWLEDGED.labels(topic=topic.name)
        self._seconds = metrics.WINDOW_SECONDS.labels(topic=topic.name)
        self._records = metrics.WINDOW_RECORDS.labels(topic=topic.name)
        for lane in self._lanes:
            gauge = metrics.INTAKE_BACKLOG.labels(topic=topic.name, partition=str(lane.partition))
            gauge.set_function(lambda lane=lane: lane.backlog)  # type: ignore[misc]

    def append(self, partition: int, key: bytes, value: bytes, headers: Headers, waiter: Waiter) -> bool:
        """Take one record into the window of `partition`; `waiter` hears of it later, never during this call.

        Returns:
            False where the record is refused: nothing was taken, and `waiter` is not called.
        """
        lane = self._lanes[partition]
        if lane.stalled or lane.backlog > self._limit or len(value) > MAX_RECORD_BYTES or not lane.producer.up:
            self._refused("producer" if not lane.producer.up else "stalled" if lane.stalled else "backlog").inc()
            return False
        window = lane.filling or self._open(lane)
        appended = window.batch.append(timestamp=None, key=key, value=value, headers=headers)
        if appended is None:
            lane.full.append(window)
            window = self._open(lane)
            appended = window.batch.append(timestamp=None, key=key, value=value, headers=headers)
        window.waiters.append(waiter)
        window.size += appended.size
        lane.backlog += appended.size
        return True

    async def put(self, partition: int, key: bytes, value: bytes, headers: Headers) -> int:
        """Append one record and wait for its offset.

        Raises:
            ConnectionError: refused, or not acknowledged in time.
        """
        waiter = _Future(self._loop)
        if not self.append(partition, key, value, headers, waiter):
            raise ConnectionError("refused: the partition has a backlog")
        return await waiter.future

    async def run(self) -> None:
        """Watch over deadlines until cancelled. A supervised task of the process."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._loop.time()
            for lane in self._lanes:
                self._sweep(lane, now)

    async def close(self) -> None:
        """Send what is waiting and tell everybody who waits, within the deadline; then nothing may be appended."""
        end = self._loop.time() + self._pace.deadline_seconds
        while self._loop.time() < end and any(lane.waiting() for lane in self._lanes):
            for lane in self._lanes:
                self._send_waiting(lane)
            sent = [window.stored for lane in self._lanes for window in lane.sent if window.stored is not None]
            await asyncio.wait(sent, timeout=SWEEP_SECONDS) if sent else await asyncio.sleep(SWEEP_SECONDS)
        for lane in self._lanes:
            for window in lane.waiting():
                window.fail()

    def _open(self, lane: PartitionQueue) -> ProducerBatch:
        window = lane.filling = ProducerBatch(lane.producer.create_batch(), self._loop.time())
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(self._pace.window_seconds, self._tick)
        return window

    def _tick(self) -> None:
        self._ticking = False
        for lane in self._lanes:
            if lane.filling is not None:
                self._send_waiting(lane)

    def _send_waiting(self, lane: PartitionQueue) -> None:
        """Hand windows to the producer while there is room; what finds none goes on filling."""
        while len(lane.sent) < self._pace.in_flight:
            if lane.full:
                window = lane.full.popleft()
            elif lane.filling is not None:
                window, lane.filling = lane.filling, None
            else:
                return
            self._send(lane, window)

    def _send(self, lane: PartitionQueue, window: ProducerBatch) -> None:
        try:
            if window.batch.size() > MAX_BATCH_BYTES:
                raise ConnectionError("a batch is too large to send")
            window.producer = lane.producer.current()
            window.sent_at = self._broker_time.local()
            window.stored = lane.producer.send(window.batch, self.topic.name, lane.partition)
        except ConnectionError as error:
            lane.backlog -= window.size
            self._failed(lane, window, error)
            return
        lane.sent.add(window)
        window.stored.add_done_callback(partial(self._settled, lane, window))

    def _settled(self, lane: PartitionQueue, window: ProducerBatch, stored: asyncio.Future[RecordMetadata]) -> None:
        """Tell everybody in `window` what has become of it, and go on with the lane."""
        if window not in lane.sent:
            return  # abandoned before
        lane.sent.discard(window)
        lane.backlog -= window.size
        lane.stalled = False
        error = stored.exception() if not stored.cancelled() else ConnectionError("cancelled")
        place = stored.result() if error is None else None
        if error is not None:
            lane.producer.replace(window.producer, type(error).__name__)
            self._failed(lane, window, error)
        elif place is None or place.offset < 0:
            self._failed(lane, window, ConnectionError("acknowledged without an offset"))
        else:
            self._acknowledged(lane, window, place)
        if not self._ticking:
            self._send_waiting(lane)

    def _acknowledged(self, lane: PartitionQueue, window: ProducerBatch, place: RecordMetadata) -> None:
        if place.timestamp_type == BROKERS_TIME and place.timestamp is not None:
            now = self._broker_time.local()
            self._broker_time.observe(sent=window.sent_at, acknowledged=now, appended=place.timestamp / 1000)
        self._accepted.inc(len(window.waiters))
        self._seconds.observe(self._loop.time() - window.opened)
        self._records.observe(len(window.waiters))
        window.acknowledge(lane.partition, place.offset)

    def _failed(self, lane: PartitionQueue, window: ProducerBatch, error: BaseException) -> None:
        log.warning("window failed", topic=self.topic.name, partition=lane.partition, error=type(error).__name__)
        self._refused("failed").inc(len(window.waiters))
        window.fail()

    def _sweep(self, lane: PartitionQueue, now: float) -> None:
        late = now - self._pace.deadline_seconds
        for window in lane.waiting():
            if window.opened > late:
                continue
            if window.waiters:
                log.warning("window not acknowledged in time", topic=self.topic.name, partition=lane.partition)
                self._refused("deadline").inc(len(window.waiters))
                window.fail()
            if window not in lane.sent:
                self._drop(lane, window)
            elif window.opened > now - self._pace.abandon_seconds:
                lane.stalled = True
            else:
                self._abandon(lane, window)

    def _drop(self, lane: PartitionQueue, window: ProducerBatch) -> None:
        """Forget a window that was never sent: everybody in it has been told."""
        if window is lane.filling:
            lane.filling = None
        else:
            lane.full.remove(window)
        lane.backlog -= window.size

    def _abandon(self, lane: PartitionQueue, window: ProducerBatch) -> None:
        """Take the producer to be stuck: everybody in the window has been told long ago."""
        lane.sent.discard(window)
        lane.backlog -= window.size
        lane.stalled = False
        lane.producer.replace(window.producer, "stuck")

    def _refused(self, reason: str) -> Counter:
        return metrics.INTAKE_UNAVAILABLE.labels(topic=self.topic.name, reason=reason)


class _Future:
    """A waiter that somebody awaits."""

    __slots__ = ("future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[int] = loop.create_future()

    def acknowledged(self, partition: int, offset: int) -> None:  # noqa: ARG002
        if not self.future.done():
            self.future.set_result(offset)

    def failed(self) -> None:
        if not self.future.done():
            self.future.set_exception(ConnectionError("not acknowledged"))

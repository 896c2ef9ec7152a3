"""One idempotent producer that can be replaced at once when it is spoilt."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import CoroutineType
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.sender import Sender
from aiokafka.structs import RecordMetadata, TopicPartition

from shared import metrics
from shared.logging import log

MAX_BATCH_BYTES: Final = 900 * 1024
"""Below the broker's 1 MiB, headers of the batch and a little growth included."""
REQUEST_MS: Final = 5_000
START_SECONDS: Final = 10.0
STOP_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 1.0
RETRY_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)


class ReplaceableProducer:
    """An aiokafka producer with `acks=all` and idempotence, made anew after an error that spoils it.

    One refused batch leaves a gap in an idempotent producer's sequence, after which that partition refuses
    everything. Whoever sent a batch that failed therefore calls `replace` with the producer it used.
    """

    def __init__(self, bootstrap_servers: str, *, compression: str | None = None) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._compression = compression
        self._current: AIOKafkaProducer | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._retired: set[asyncio.Task[None]] = set()
        self._topics: set[str] = set()
        self._closing = False

    @property
    def up(self) -> bool:
        """Whether there is a producer to send with at the moment."""
        return self._current is not None

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError, OSError, TimeoutError: no broker answered.
        """
        self._current = await self._connected()

    async def close(self) -> None:
        """Send what is pending, for a few seconds at most, and let go of the broker."""
        self._closing = True
        if self._replacing is not None:
            self._replacing.cancel()
        current, self._current = self._current, None
        if current is not None:
            self._retire(current)
        if self._retired:
            await asyncio.wait(self._retired, timeout=STOP_SECONDS + 2 * CLOSE_SECONDS)

    def create_batch(self) -> BatchBuilder:
        """An empty batch of at most `MAX_BATCH_BYTES`, for any producer of this object.

        Raises:
            ConnectionError: there is no producer at the moment.
        """
        batch: BatchBuilder = self.current().create_batch()
        return batch

    def current(self) -> AIOKafkaProducer:
        """The producer that `send` uses.

        Raises:
            ConnectionError: there is none at the moment.
        """
        if self._current is None:
            raise ConnectionError("no producer at the moment")
        return self._current

    def send(self, batch: BatchBuilder, topic: str, partition: int) -> asyncio.Future[RecordMetadata]:
        """Queue a batch behind those sent to the partition before it; the result says where it was stored.

        This is what `AIOKafkaProducer.send_batch` does, less a task for each batch, and less its waiting: callers
        bound how many batches of a partition are on their way. `prepare` has made sure of the topic's metadata.

        Raises:
            ConnectionError: there is no producer at the moment, or the one there is has ended.
        """
        accumulator = self.current()._message_accumulator  # noqa: SLF001  see above
        if accumulator._exception is not None or accumulator._closed:  # noqa: SLF001
            raise ConnectionError("the producer has ended")
        sent: asyncio.Future[RecordMetadata] = accumulator._append_batch(  # noqa: SLF001
            batch, TopicPartition(topic, partition)
        ).future
        return sent

    async def prepare(self, topic: str) -> None:
        """Learn where the partitions of `topic` are, now and after each replacement.

        Raises:
            KafkaError: there is no such topic.
        """
        self._topics.add(topic)
        await self.current().partitions_for(topic)

    def replace(self, spoilt: AIOKafkaProducer | None, reason: str) -> None:
        """Stop using `spoilt` and connect another; does nothing if that has been done already."""
        if spoilt is None or self._current is not spoilt or self._closing:
            return
        log.error("producer is replaced", reason=reason)
        metrics.PRODUCERS_REPLACED.labels(reason=reason).inc()
        self._current = None
        self._retire(spoilt)
        self._replacing = asyncio.create_task(self._reconnect(), name="replace-producer")

    async def _connected(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            compression_type=self._compression,
            max_batch_size=MAX_BATCH_BYTES,
            request_timeout_ms=REQUEST_MS,
            linger_ms=0,
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                await producer.start()
                for topic in self._topics:
                    await producer.partitions_for(topic)
        except BaseException:
            await stop(producer)
            raise
        return producer

    async def _reconnect(self) -> None:
        attempt = 0
        while self._current is None and not self._closing:
            try:
                self._current = await self._connected()
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("producer cannot connect", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
                attempt += 1

    def _retire(self, producer: AIOKafkaProducer) -> None:
        task = asyncio.create_task(stop(producer), name="stop-producer")
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)


async def stop(producer: AIOKafkaProducer) -> None:
    """Stop `producer` in bounded time: flush if it can, else cut its connections. Nothing is sent after that."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await producer.stop()
    except BaseException as error:
        _cut(producer)
        if not isinstance(error, (KafkaError, OSError, TimeoutError)):
            raise
        log.warning("producer did not stop by itself", error=type(error).__name__)
        with suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await producer.client.close()


def _cut(producer: AIOKafkaProducer) -> None:
    """End what `producer` is doing: aiokafka offers no stop without a flush."""
    sender = producer._sender  # noqa: SLF001
    # A sender that is cancelled waits for its requests, and these would wait for the broker to come back and send.
    for request in asyncio.all_tasks():
        if _is_request_of(sender, request):
            request.cancel()
    if sender.sender_task is not None:
        # This callback expects a transaction of a sender that ended.
        sender.sender_task.remove_done_callback(sender._fail_all)  # noqa: SLF001
        sender.sender_task.cancel()
    for connection in producer.client._conns.values():  # noqa: SLF001
        # To close it would first send what it still holds.
        if connection.connected():
            connection._writer.transport.abort()  # noqa: SLF001
    accumulator = producer._message_accumulator  # noqa: SLF001
    queued = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
    unsent = [*accumulator._pending_batches, *queued]  # noqa: SLF001
    # Whoever still waits for it must not wait for ever; where nobody does, nobody need be told.
    accumulator.fail_all(KafkaConnectionError("the producer was stopped"))
    for batch in unsent:
        if not batch.future.cancelled():
            batch.future.exception()


def _is_request_of(sender: Sender, task: asyncio.Task[object]) -> bool:
    request = task.get_coro()
    return (
        isinstance(request, CoroutineType)
        and request.cr_code is Sender._send_produce_req.__code__  # noqa: SLF001
        and request.cr_frame is not None
        and request.cr_frame.f_locals["self"] is sender
    )


__all__ = ["MAX_BATCH_BYTES", "AIOKafkaProducer", "BatchBuilder", "RecordMetadata", "ReplaceableProducer", "stop"]

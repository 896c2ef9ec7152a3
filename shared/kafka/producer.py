"""An idempotent producer that can be replaced at once when it has failed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import CoroutineType
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.sender import Sender
from aiokafka.structs import RecordMetadata, TopicPartition

from shared import metrics
from shared.logging import log
from shared.outages import KAFKA_OUTAGES, Backoff

MAX_BATCH_BYTES: Final = 900 * 1024
"""Below the broker's 1 MiB, with room for the batch header and a little growth."""
REQUEST_TIMEOUT_MS: Final = 5_000
START_TIMEOUT_SECONDS: Final = 10.0
STOP_TIMEOUT_SECONDS: Final = 5.0
CLOSE_TIMEOUT_SECONDS: Final = 1.0


class ReplaceableProducer:
    """An aiokafka producer with `acks=all` and idempotence, replaced after an error that makes it unusable.

    A refused batch leaves a gap in an idempotent producer's sequence, after which that partition refuses everything.
    The sender of a failed batch therefore calls `replace` with the producer that it used.
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
    def available(self) -> bool:
        """Whether a producer is connected at the moment."""
        return self._current is not None

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError, OSError, TimeoutError: no broker answered.
        """
        self._current = await self._connect()

    async def close(self) -> None:
        """Flush for a few seconds at most, and disconnect."""
        self._closing = True
        if self._replacing is not None:
            self._replacing.cancel()
        current, self._current = self._current, None
        if current is not None:
            self._retire(current)
        if self._retired:
            await asyncio.wait(self._retired, timeout=STOP_TIMEOUT_SECONDS + 2 * CLOSE_TIMEOUT_SECONDS)

    def create_batch(self) -> BatchBuilder:
        """Create an empty batch of at most `MAX_BATCH_BYTES`, for any producer of this object.

        Raises:
            ConnectionError: there is no producer at the moment.
        """
        batch: BatchBuilder = self.current().create_batch()
        return batch

    def current(self) -> AIOKafkaProducer:
        """Return the producer that `send` uses.

        Raises:
            ConnectionError: there is no producer at the moment.
        """
        if self._current is None:
            raise ConnectionError("no producer at the moment")
        return self._current

    def send(self, batch: BatchBuilder, topic: str, partition: int) -> asyncio.Future[RecordMetadata]:
        """Queue `batch` behind the earlier batches of its partition; the result holds its offset.

        Does what `AIOKafkaProducer.send_batch` does, without a task for each batch and without its waiting: callers
        bound how many batches of a partition are in flight, and `load_metadata` has fetched the topic's metadata.

        Raises:
            ConnectionError: there is no producer at the moment, or it has ended.
        """
        accumulator = self.current()._message_accumulator  # noqa: SLF001  see above
        if accumulator._exception is not None or accumulator._closed:  # noqa: SLF001
            raise ConnectionError("the producer has ended")
        ack: asyncio.Future[RecordMetadata] = accumulator._append_batch(  # noqa: SLF001
            batch, TopicPartition(topic, partition)
        ).future
        return ack

    async def load_metadata(self, topic: str) -> None:
        """Fetch the metadata of `topic`, now and after each replacement.

        Raises:
            KafkaError: there is no such topic.
        """
        self._topics.add(topic)
        await self.current().partitions_for(topic)

    def replace(self, failed: AIOKafkaProducer | None, reason: str) -> None:
        """Stop using `failed` and connect another; do nothing where `failed` has been replaced already."""
        if failed is None or self._current is not failed or self._closing:
            return
        log.error("producer is replaced", reason=reason)
        metrics.PRODUCERS_REPLACED.labels(reason=reason).inc()
        self._current = None
        self._retire(failed)
        self._replacing = asyncio.create_task(self._reconnect(), name="replace-producer")

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            compression_type=self._compression,
            max_batch_size=MAX_BATCH_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            linger_ms=0,
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                await producer.start()
                for topic in self._topics:
                    await producer.partitions_for(topic)
        except BaseException:
            await stop_producer(producer)
            raise
        return producer

    async def _reconnect(self) -> None:
        backoff = Backoff("no producer connects", min_pause_s=0.1, max_pause_s=2.0)
        while self._current is None and not self._closing:
            try:
                self._current = await self._connect()
            except KAFKA_OUTAGES as error:
                log.warning("producer cannot connect", error=type(error).__name__)
                await backoff.pause(error)

    def _retire(self, producer: AIOKafkaProducer) -> None:
        task = asyncio.create_task(stop_producer(producer), name="stop-producer")
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """Stop `producer` in bounded time: flush if possible, else abort its connections. Nothing is sent afterwards."""
    try:
        async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
            await producer.stop()
    except BaseException as error:
        _abort(producer)
        if not isinstance(error, KAFKA_OUTAGES):
            raise
        log.warning("producer did not stop by itself", error=type(error).__name__)
        with suppress(*KAFKA_OUTAGES):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await producer.client.close()


def _abort(producer: AIOKafkaProducer) -> None:
    """Cancel the tasks and connections of `producer`: aiokafka offers no stop without a flush.

    Without it, a request that waits for a connection is sent once the broker answers again, long after those who
    waited for it were told that nothing is known to be stored.
    """
    sender = producer._sender  # noqa: SLF001
    # A cancelled sender waits for its requests, which would wait for the broker to return and then send.
    for request in asyncio.all_tasks():
        if _is_request_of(sender, request):
            request.cancel()
    if sender.sender_task is not None:
        # This callback expects an ended sender to have a transaction.
        sender.sender_task.remove_done_callback(sender._fail_all)  # noqa: SLF001
        sender.sender_task.cancel()
    for connection in producer.client._conns.values():  # noqa: SLF001
        # Closing it would first send its buffer.
        if connection.connected():
            connection._writer.transport.abort()  # noqa: SLF001
    accumulator = producer._message_accumulator  # noqa: SLF001
    queued = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
    unsent = [*accumulator._pending_batches, *queued]  # noqa: SLF001
    # Every pending future must end; reading the exception keeps asyncio from logging futures that nobody awaits.
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

"""What every intake process consists of: catalog, producer, windows, the broker's time, and their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import asyncpg
import stamina
from aiokafka.errors import KafkaError

from shared import topics
from shared.catalog import Catalog
from shared.clock import SystemClock
from shared.database import create_pool
from shared.intake.campaign_terms import TermsCache
from shared.intake.receipt_status import ReceiptStatus
from shared.intake.settings import IntakeSettings
from shared.kafka import topic_check
from shared.kafka.broker_time import BrokerTime
from shared.kafka.clock_probe import probe
from shared.kafka.producer import ReplaceableProducer
from shared.kafka.producer_batches import ProducerBatches
from shared.privacy.keys import PrivateKeyOpener, read_secret
from shared.privacy.receipts import Receipts
from shared.tasks import Tasks
from shared.topics import Topic

_CATALOG: Final = (topics.CASES, topics.KEYS, topics.ACCESS, topics.TOTALS)
PRODUCERS: Final = 4
"""A producer of aiokafka has one request on its way to a broker: with several, a partition does not wait for another's
acknowledgement, which counts most where the broker writes each batch through to disk first."""


class IntakeProcess:
    """The common parts of an intake.

    Args:
        service: its name.
        taken: the topics it produces to.
        probes: the topic by which it learns the broker's time.

    Everything is there from the start but `windows`, `counted` and `pool`, which `running` makes.
    """

    batches: Mapping[str, ProducerBatches]
    receipt_status: ReceiptStatus
    pool: asyncpg.Pool

    def __init__(self, settings: IntakeSettings, service: str, taken: tuple[Topic, ...], probes: Topic) -> None:
        self._settings = settings
        self._service = service
        self._taken = taken
        self._probes = probes
        opener = PrivateKeyOpener(settings.wrapping_private_key_file)
        self.catalog = Catalog(settings.kafka_bootstrap_servers, opener=opener, read=_CATALOG)
        self.terms = TermsCache(self.catalog)
        self.catalog.on_change(self.terms.changed)
        self.broker_time = BrokerTime(SystemClock(settings.clock_offset_seconds))
        self.producers = tuple(ReplaceableProducer(settings.kafka_bootstrap_servers) for _ in range(PRODUCERS))
        self.receipts = Receipts(read_secret(settings.receipt_key_file), tuple(topic.name for topic in taken))

    def partitions(self, topic: Topic) -> int:
        """How many partitions `topic` has here, for ever."""
        return topic.partitions_production if self._settings.environment == "production" else topic.partitions

    def missing(self) -> Mapping[str, str]:
        """What readiness lacks. The database is not among it: only the status of receipts asks it anything."""
        missing = {}
        if not self.catalog.ready:
            missing["catalog"] = "campaigns, cases, keys and totals are not read to their ends yet"
        if not all(producer.up for producer in self.producers):
            missing["kafka"] = "there is no connection to produce with"
        elif not self.broker_time.known:
            missing["time"] = "the broker's time is not known yet"
        return missing

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run everything; at the end answer who waits, then let go.

        Raises:
            SetupError: Kafka's topics are not as declared.
        """
        settings = self._settings
        await topic_check.check(
            settings.kafka_bootstrap_servers,
            (*self._taken, self._probes, *_CATALOG),
            flush=settings.kafka_flush == "on",
            production=settings.environment == "production",
        )
        async with AsyncExitStack() as stack:
            name = f"{self._service} intake"
            self.pool = await create_pool(settings.database_url, application_name=name, min_size=0)
            stack.push_async_callback(self.pool.close)
            self.receipt_status = ReceiptStatus(self.pool, self.broker_time.now)
            await self._connect()
            stack.push_async_callback(self._disconnect)
            tasks = await stack.enter_async_context(Tasks())
            tasks.start("catalog", self.catalog.run)
            self.batches = {topic.name: self._window(topic, tasks, stack) for topic in self._taken}
            probes = self._window(self._probes, tasks, stack)
            tasks.start("broker's time", partial(probe, probes, self.broker_time))
            yield

    def _window(self, topic: Topic, tasks: Tasks, stack: AsyncExitStack) -> ProducerBatches:
        windows = ProducerBatches(topic, self.partitions(topic), self.producers, self.broker_time)
        tasks.start(f"windows of {topic.name}", windows.run)
        stack.push_async_callback(windows.close)
        return windows

    @stamina.retry(on=(KafkaError, OSError, TimeoutError), attempts=20, timeout=60, wait_max=5)
    async def _connect(self) -> None:
        for producer in self.producers:
            if not producer.up:
                await producer.start()
            for topic in (*self._taken, self._probes):
                await producer.prepare(topic.name)

    async def _disconnect(self) -> None:
        """Let go of the producers side by side: together they take no longer than the slowest."""
        await asyncio.gather(*(producer.close() for producer in self.producers))

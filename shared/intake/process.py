"""An intake process: catalog, producers, batches, the broker's time, their tasks, and the application on top."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import stamina
from fastapi import APIRouter, FastAPI

from shared import topics
from shared.catalog import Catalog
from shared.clock import SystemClock
from shared.database import create_pool
from shared.http.fast_routes import FastRoute
from shared.http.limits import MAX_BODY_BYTES
from shared.http.service import add_fast_route, create_app
from shared.intake.campaign_terms import TermsCache
from shared.intake.receipt_status import ReceiptStatus
from shared.intake.submit import SubmitEndpoint
from shared.kafka import topic_check
from shared.kafka.broker_time import BrokerTime
from shared.kafka.clock_probe import probe_clock
from shared.kafka.producer import ReplaceableProducer
from shared.kafka.producer_batches import ProducerBatches
from shared.outages import KAFKA_OUTAGES
from shared.privacy.keys import PrivateKeyOpener, read_secret
from shared.privacy.receipts import Receipts
from shared.settings import ServiceSettings
from shared.tasks import Tasks
from shared.topics import Topic
from shared.web.pages import Pages

CATALOG_TOPICS: Final = topics.COMPACTED
PRODUCER_COUNT: Final = 4
"""A producer of aiokafka has one request in flight to a broker. With several, a partition does not wait for another's
acknowledgement, which matters most where the broker flushes each batch to disk first."""


class IntakeSettings(ServiceSettings):
    """The settings of every service, and the key files of an intake: for campaigns' keys and for receipts."""

    wrapping_private_key_file: Path
    receipt_key_file: Path


class IntakeProcess:
    """The parts of an intake process.

    Args:
        service: its name.
        folder: the folder of its templates and static files.
        intake_topics: the topics it produces to, each with the consumer group that counts it.
        probe_topic: the topic by which it measures the broker's time.

    `base_url` is the service's public origin. `receipt_status`, `pool` and the contents of `batches`, which are by
    topic, exist once the process has started.
    """

    receipt_status: ReceiptStatus
    pool: asyncpg.Pool

    def __init__(
        self,
        settings: IntakeSettings,
        service: str,
        folder: Path,
        *,
        intake_topics: Mapping[Topic, str],
        probe_topic: Topic,
    ) -> None:
        self._settings = settings
        self._service = service
        self._intake_topics = intake_topics
        self._probe_topic = probe_topic
        opener = PrivateKeyOpener(settings.wrapping_private_key_file)
        self.catalog = Catalog(settings.kafka_bootstrap_servers, opener=opener, source_topics=CATALOG_TOPICS)
        self.terms = TermsCache(self.catalog)
        self.catalog.on_change(self.terms.on_catalog_change)
        self.broker_time = BrokerTime(SystemClock())
        self.producers = tuple(ReplaceableProducer(settings.kafka_bootstrap_servers) for _ in range(PRODUCER_COUNT))
        self.receipts = Receipts(read_secret(settings.receipt_key_file), tuple(topic.name for topic in intake_topics))
        self.batches: dict[str, ProducerBatches] = {}
        self.pages = Pages(service=service, origins=settings, folder=folder)
        self.base_url: str = getattr(settings, f"{service}_url")

    def create_app(
        self, title: str, routers: Sequence[APIRouter], fast_routes: Mapping[str, SubmitEndpoint[Any]]
    ) -> FastAPI:
        """Create the application; `fast_routes` are the endpoints that also have a fast route, by its path."""
        app = create_app(
            service=self._service,
            title=title,
            settings=self._settings,
            lifespan=self._lifespan,
            routers=routers,
            readiness=self.missing,
            pages=self.pages,
        )
        for path, endpoint in fast_routes.items():
            add_fast_route(app, FastRoute(path, MAX_BODY_BYTES, endpoint.try_submit))
        return app

    def partition_count(self, topic: Topic) -> int:
        """Return the number of partitions of `topic` in this environment; it never changes."""
        return topic.partition_count(production=self._settings.production)

    def missing(self) -> Mapping[str, str]:
        """Return what readiness lacks. The database is not needed: only the status of receipts reads it."""
        missing = {}
        if not self.catalog.ready:
            missing["catalog"] = "campaigns, cases, keys and totals are not read to their ends yet"
        if not all(producer.available for producer in self.producers):
            missing["kafka"] = "there is no connection to produce with"
        elif not self.broker_time.has_estimate:
            missing["time"] = "the broker's time is not known yet"
        return missing

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Run all parts; at the end answer pending requests, then close.

        Raises:
            SetupError: Kafka's topics are not as declared.
        """
        settings = self._settings
        await topic_check.check_topics_of(settings, (*self._intake_topics, self._probe_topic, *CATALOG_TOPICS))
        async with AsyncExitStack() as stack:
            name = f"{self._service} intake"
            self.pool = await create_pool(
                settings.database_url, application_name=name, min_size=0, reads_tables_whole=True
            )
            stack.push_async_callback(self.pool.close)
            counters = {topic.name: group for topic, group in self._intake_topics.items()}
            self.receipt_status = ReceiptStatus(self.pool, self.broker_time.now, counters)
            await self._connect()
            stack.push_async_callback(self._disconnect)
            tasks = await stack.enter_async_context(Tasks())
            tasks.start("catalog", self.catalog.run)
            self.batches |= {topic.name: self._start_batches(topic, tasks, stack) for topic in self._intake_topics}
            probe_batches = self._start_batches(self._probe_topic, tasks, stack)
            tasks.start("broker's time", partial(probe_clock, probe_batches, self.broker_time))
            yield

    def _start_batches(self, topic: Topic, tasks: Tasks, stack: AsyncExitStack) -> ProducerBatches:
        batches = ProducerBatches(topic, self.partition_count(topic), self.producers, self.broker_time)
        tasks.start(f"windows of {topic.name}", batches.run)
        stack.push_async_callback(batches.close)
        return batches

    @stamina.retry(on=KAFKA_OUTAGES, attempts=20, timeout=60, wait_max=5)
    async def _connect(self) -> None:
        for producer in self.producers:
            if not producer.available:
                await producer.start()
            for topic in (*self._intake_topics, self._probe_topic):
                await producer.load_metadata(topic.name)

    async def _disconnect(self) -> None:
        """Close the producers concurrently: together they take no longer than the slowest."""
        await asyncio.gather(*(producer.close() for producer in self.producers))

"""marathon's composition root: the parts of a process of each role."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

import asyncpg
from fastapi import APIRouter, FastAPI

from services.marathon.actions.publish_totals import Publisher
from services.marathon.consumers.end_offsets import EndOffsetReader
from services.marathon.consumers.tallies import tally_subscription
from services.marathon.http import campaigns, totals
from services.marathon.http.documents import TotalsDocuments
from services.marathon.http.history import HistoryCache
from services.marathon.http.live import LiveBoard
from services.marathon.http.pages import last_hour, pages_router
from services.marathon.settings import MarathonSettings
from shared import migrations, topics
from shared.catalog import Catalog
from shared.clock import SystemClock
from shared.database import connected, create_pool
from shared.errors import SetupError
from shared.http.service import create_app
from shared.kafka import topic_check
from shared.kafka.outbox import OutboxRelay
from shared.kafka.subscription_reader import SubscriptionReader
from shared.logging import log
from shared.outages import retry_on_outage
from shared.privacy.keys import read_secret
from shared.tasks import Tasks
from shared.web.pages import Pages

Role = Literal["all", "web", "ledger"]

CATALOG_TOPICS: Final = (topics.CASES, topics.TOTALS)
REQUIRED_TOPICS: Final = (
    *topics.COUNTED,
    topics.PETITIONS_TALLIES,
    topics.LETTERS_TALLIES,
    topics.CASES,
    topics.KEYS,
    topics.ACCESS,
    topics.TOTALS,
    topics.MARATHON_PROBES,
)
"""The topics whose settings marathon relies on."""


def create(settings: MarathonSettings, role: Role) -> FastAPI:
    """Create the application of one process: `web` serves, `ledger` counts and publishes, `all` does both."""
    process = _Process(settings, role)
    return create_app(
        service="marathon",
        title="Milleplumes: campaigns, totals and the live board",
        settings=settings,
        lifespan=process.lifespan,
        routers=process.routers() if process.serves else (),
        readiness=process.missing,
        degraded=process.degraded,
        pages=process.pages if process.serves else None,
        subscriptions=(process.tallies,),
    )


class _Process:
    def __init__(self, settings: MarathonSettings, role: Role) -> None:
        self._settings = settings
        self.serves = role in ("all", "web")
        self.counts = role in ("all", "ledger")
        self.pages = Pages(service="marathon", origins=settings, folder=Path(__file__).parent)
        self._clock = SystemClock()
        self._catalog = Catalog(settings.kafka_bootstrap_servers, source_topics=CATALOG_TOPICS)
        self._documents = TotalsDocuments(self._catalog, self._clock)
        self._board = LiveBoard(self._documents)
        self._history = HistoryCache(self._catalog, self._clock)
        self._checked = False
        # A process that only serves declares what marathon reads, and needs no key for it.
        self.tallies = tally_subscription(_read_ledger_key(settings) if self.counts else b"")
        self._tally_reader: SubscriptionReader | None = None
        self._publisher: Publisher | None = None

    def routers(self) -> tuple[APIRouter, ...]:
        return (
            campaigns.router(self._catalog, self._documents, self._clock),
            totals.router(self._catalog, self._documents, self._board, self._history),
            pages_router(self.pages, self._catalog, self._clock, last_hour(self._catalog, self._history)),
        )

    def missing(self) -> Mapping[str, str]:
        missing: dict[str, str] = {}
        if not self._checked:
            missing["start"] = "Kafka or PostgreSQL is not there yet"
        if self.serves and not self._catalog.ready:
            missing["catalog"] = "campaigns and totals are not read yet"
        if self.counts:
            missing |= self._tally_reader.missing() if self._tally_reader is not None else {"ledger": "not started yet"}
        return missing

    def degraded(self) -> Mapping[str, str]:
        parts = [part for part in (self._tally_reader, self._publisher) if part is not None]
        return {name: reason for part in parts for name, reason in part.degraded().items()}

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        # Neither Kafka nor the database has to be available: pages come from memory, or are a 503 with `Retry-After`.
        pool = await create_pool(self._settings.database_url, application_name="marathon", min_size=0, max_size=8)
        try:
            async with Tasks() as tasks:
                if self.serves:
                    self._serve(app, pool, tasks)
                tasks.start("start", lambda: self._start(pool, tasks))
                yield
        finally:
            await pool.close()

    def _serve(self, app: FastAPI, pool: asyncpg.Pool, tasks: Tasks) -> None:
        self._history.pool = pool
        tasks.start("catalog", self._catalog.run)
        tasks.start("live board", lambda: self._board.run(app.state.closing))

    async def _start(self, pool: asyncpg.Pool, tasks: Tasks) -> None:
        """Start counting once Kafka and the database pass their checks, however long they are away."""

        def report(error: Exception) -> None:
            log.warning("waiting for Kafka or PostgreSQL", failure=type(error).__name__)

        try:
            await retry_on_outage(lambda: self._check(pool), report)
        except SetupError as error:
            log.error("refused to start", reason=str(error))
            raise
        if self.counts:
            self._count(pool, tasks)
        await asyncio.Event().wait()

    async def _check(self, pool: asyncpg.Pool) -> None:
        await topic_check.check_topics_of(self._settings, REQUIRED_TOPICS)
        async with connected(pool) as connection:
            await migrations.check(connection, "marathon")
        self._checked = True

    def _count(self, pool: asyncpg.Pool, tasks: Tasks) -> None:
        settings = self._settings
        servers = settings.kafka_bootstrap_servers
        self._tally_reader = SubscriptionReader(self.tallies, pool, servers)
        partitions = {topic.name: topic.partition_count(production=settings.production) for topic in topics.COUNTED}
        self._publisher = Publisher(pool, EndOffsetReader(servers, partitions).read)
        tasks.start("tally batches", self._tally_reader.run)
        tasks.start("totals", self._publisher.run)
        tasks.start("outbox", OutboxRelay(pool, servers, service="marathon", give_up_s=math.inf).run)


def _read_ledger_key(settings: MarathonSettings) -> bytes:
    """Return the secret that salts the rows of the ledger.

    Raises:
        SetupError: no file is named, or it holds no secret.
    """
    if settings.ledger_key_file is None:
        raise SetupError("a process that counts needs a secret to salt the ledger by: set LEDGER_KEY_FILE")
    return read_secret(settings.ledger_key_file)

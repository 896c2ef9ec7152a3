"""notifications' composition root: the parts of a process of each role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import asyncpg
from fastapi import APIRouter, FastAPI

from services.notifications.consumers.submission_decoder import DecodedBatch, SubmissionDecoder
from services.notifications.consumers.submissions import SubmissionHandler
from services.notifications.domain.recipient_keys import RecipientKeys
from services.notifications.http.mailbox import mailbox_router
from services.notifications.http.preferences import Preferences
from services.notifications.mailings.confirmation.definition import CONFIRMATION
from services.notifications.sender.compose.composing import Composer
from services.notifications.sender.deliver.attempts import AttemptRunner
from services.notifications.sender.deliver.sending import Sender
from services.notifications.sender.deliver.smtp_connection import SmtpConnection
from services.notifications.sender.housekeeping import MEASURE_INTERVAL_S, Housekeeping
from services.notifications.sender.outages import run_repeatedly
from services.notifications.sender.planning import Planner
from services.notifications.settings import Settings
from services.notifications.storage.clock import DatabaseClock
from shared import migrations, topics
from shared.catalog import Catalog
from shared.clock import SystemClock
from shared.database import connected, create_pool
from shared.errors import TransientError
from shared.http.service import create_app
from shared.kafka import topic_check
from shared.kafka.loop import PositionedLoop
from shared.kafka.outbox import OutboxRelay
from shared.privacy.keys import PrivateKeyOpener, read_secret
from shared.tasks import Tasks
from shared.web.pages import Pages

Role = Literal["consumer", "sender", "web", "all"]

SERVICE = "notifications"
MAILINGS = (CONFIRMATION,)
GROUP = "notifications.plan-mails"
CONSUMED_TOPICS = (topics.SIGNATURES, topics.MESSAGES)
CATALOG_TOPICS = (topics.CASES, topics.KEYS)
CHECKED_TOPICS = (*CONSUMED_TOPICS, *CATALOG_TOPICS, topics.DELIVERIES)
"""The topics whose settings notifications relies on."""
CATALOG_TIMEOUT_S = 300.0
CLOCK_INTERVAL_S = 60.0
"""Time between two readings of the database's clock; a local clock drifts by milliseconds meanwhile."""


def create(settings: Settings, role: Role) -> FastAPI:
    """Create the application of one process: `consumer` turns events into deliveries, `sender` plans and sends mails,
    `web` serves the pages, `all` does everything.
    """
    service = Notifications(settings, role)
    return create_app(
        service=SERVICE,
        title="Milleplumes: e-mail to participants",
        settings=settings,
        lifespan=service.lifespan,
        routers=service.routers(),
        readiness=service.missing,
        pages=service.pages if service.serves else None,
    )


class Notifications:
    """The parts of one process."""

    def __init__(self, settings: Settings, role: Role) -> None:
        self.pages = Pages(service=SERVICE, origins=settings, folder=Path(__file__).parent)
        self.serves = role in ("web", "all")
        self._settings = settings
        self._role = role
        self._clock = DatabaseClock(SystemClock())
        self._recipient_keys = RecipientKeys(read_secret(settings.recipient_key_file))
        self._pool: asyncpg.Pool | None = None
        self._catalog: Catalog | None = None
        self._loop: PositionedLoop[DecodedBatch] | None = None

    def routers(self) -> list[APIRouter]:
        """Return the routes of this role."""
        if not self.serves:
            return []
        settings = self._settings
        routers = [Preferences(self._connected, MAILINGS, self._recipient_keys, self.pages, self._clock).router()]
        if settings.environment == "development" and settings.mailbox_folder is not None:
            routers.append(mailbox_router(settings.mailbox_folder, self.pages))
        return routers

    def _connected(self) -> asyncpg.Pool:
        if self._pool is None:
            raise TransientError("not started yet")
        return self._pool

    def missing(self) -> Mapping[str, str]:
        """Return what is not ready yet, by part."""
        if self._pool is None:
            return {SERVICE: "starting"}
        if self._catalog is not None and not self._catalog.ready:
            return {"catalog": "not read to the end yet"}
        return self._loop.missing() if self._loop is not None else {}

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Run the parts of this role between start and stop of the process.

        Raises:
            SetupError: Kafka's topics, the database's schema or a key are not as they must be.
        """
        settings = self._settings
        async with AsyncExitStack() as stack:
            pool = await create_pool(settings.database_url, application_name=f"{SERVICE} {self._role}", max_size=8)
            stack.push_async_callback(pool.close)
            async with connected(pool) as connection:
                await migrations.check(connection, SERVICE)
                await self._clock.read(connection)
            if self._role != "web":
                await topic_check.check_topics_of(settings, CHECKED_TOPICS)
            tasks = await stack.enter_async_context(Tasks())
            if self._role != "web":
                self._start(tasks, pool)
            self._pool = pool
            yield

    def _start(self, tasks: Tasks, pool: asyncpg.Pool) -> None:
        settings = self._settings
        opener = PrivateKeyOpener(settings.wrapping_private_key_file)
        catalog = Catalog(settings.kafka_bootstrap_servers, opener=opener, source_topics=CATALOG_TOPICS)
        self._catalog = catalog
        tasks.start("catalog", catalog.run)
        read_time = partial(self._read_time, pool)
        tasks.start("clock", partial(run_repeatedly, "reading the time", read_time, CLOCK_INTERVAL_S))
        if self._role in ("sender", "all"):
            self._start_sender(tasks, pool, catalog)
        if self._role in ("consumer", "all"):
            handler = SubmissionHandler(MAILINGS, self._clock)
            self._loop = PositionedLoop(
                topics=[topic.name for topic in CONSUMED_TOPICS],
                group=GROUP,
                pool=pool,
                bootstrap_servers=settings.kafka_bootstrap_servers,
                prepare=SubmissionDecoder(MAILINGS, catalog, self._recipient_keys, CONSUMED_TOPICS).decode,
                handle=handler.handle,
                handle_poison=handler.skip_poison,
            )
            tasks.start("submissions", partial(_run_when_ready, catalog, self._loop.run))

    async def _read_time(self, pool: asyncpg.Pool) -> bool:
        async with connected(pool) as connection:
            await self._clock.read(connection)
        return False

    def _start_sender(self, tasks: Tasks, pool: asyncpg.Pool, catalog: Catalog) -> None:
        settings, clock = self._settings, self._clock
        relay = OutboxRelay(pool, settings.kafka_bootstrap_servers, service=SERVICE)
        runner = AttemptRunner(Composer(MAILINGS, catalog, self._recipient_keys, settings), clock)
        connections = [SmtpConnection(settings) for _ in range(settings.smtp_connections)]
        sender = Sender(pool, runner, connections, clock, relay.wake)
        planner = Planner(pool, MAILINGS, catalog, self._recipient_keys, clock, on_planned=sender.wake)
        housekeeping = Housekeeping(pool, catalog, clock)
        tasks.start("outbox", relay.run)
        tasks.start("sending", partial(_run_when_ready, catalog, sender.run))
        tasks.start("planning", partial(_run_when_ready, catalog, planner.run))
        keep_house = partial(run_repeatedly, "housekeeping", housekeeping.run_once, MEASURE_INTERVAL_S)
        tasks.start("housekeeping", keep_house)


async def _run_when_ready(catalog: Catalog, run: Callable[[], Awaitable[None]]) -> None:
    """Call `run` once every campaign is known."""
    await catalog.wait_ready(CATALOG_TIMEOUT_S)
    await run()

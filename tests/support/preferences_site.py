"""The pages with the mail preferences, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI

from services.notifications.http.preferences import Preferences
from shared.http.service import create_app
from shared.web.pages import Pages
from tests.support.mailing import NotificationsHarness


@asynccontextmanager
async def preferences_client(harness: NotificationsHarness) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the pages of notifications, served by the real application."""
    pages = Pages(service="notifications", origins=harness.settings, folder=Path("services/notifications"))
    router = Preferences(lambda: harness.pool, harness.mailings, harness.recipient_keys, pages, harness.clock).router()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    app = create_app(
        service="notifications",
        title="test",
        settings=harness.settings,
        lifespan=lifespan,
        routers=[router],
        readiness=dict[str, str],
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=harness.settings.notifications_url) as client:
        yield client

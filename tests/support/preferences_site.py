"""The pages on which people decide about their mail, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI

from services.notifications.http.preferences import Preferences
from shared.http.service import create_app
from shared.web.pages import Pages
from tests.support.mailing import Mailing


@asynccontextmanager
async def website(mail: Mailing) -> AsyncIterator[httpx.AsyncClient]:
    """The pages of notifications, answered by the real application."""
    pages = Pages(service="notifications", origins=mail.settings, folder=Path("services/notifications"))
    router = Preferences(lambda: mail.pool, mail.names, pages, mail.clock).router()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    app = create_app(
        service="notifications",
        title="test",
        settings=mail.settings,
        lifespan=lifespan,
        routers=[router],
        readiness=dict[str, str],
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=mail.settings.notifications_url) as client:
        yield client

"""The frame of every service's application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.requests import Request

from shared.errors import SetupError
from shared.http.client import Client, Clients
from shared.http.docs import docs
from shared.http.fast_routes import FastRoute, ResponseHeads
from shared.http.limits import ConnectionLimits
from shared.http.middleware import AppMiddleware
from shared.http.probes import Readiness, probes
from shared.http.problem import add_problem_handlers
from shared.logging import log
from shared.settings import ServiceSettings
from shared.watchdog import watched

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    *,
    service: str,
    title: str,
    settings: ServiceSettings,
    lifespan: Lifespan,
    routers: Sequence[APIRouter],
    readiness: Readiness,
    degraded: Readiness = dict,
) -> FastAPI:
    """An application with probes, metrics, documents, problem details, cross-origin rules, bounds and safe headers.

    `readiness` says what is missing, by part; empty means ready. `degraded` says what the process goes on without.
    Route paths stand whole in the routers (no prefixes): metrics and logs name a request by its route's path.
    `app.state.closing` is set when the server begins to shut down, so that endless answers can end; `add_hot_route`
    gives an intake its fast path.
    """
    app = FastAPI(
        title=title, lifespan=_explained(lifespan), docs_url=None, redoc_url=None, openapi_url="/openapi.json"
    )
    app.state.settings = settings
    app.state.clients = Clients(settings.trusted_proxies, settings.country_header)
    app.state.closing = asyncio.Event()
    app.state.hot_routes = {}
    app.state.hot_heads = ResponseHeads()
    app.state.connection_limits = ConnectionLimits()
    add_problem_handlers(app)
    app.add_middleware(AppMiddleware)
    for router in (probes(service, settings, readiness, degraded), docs(), *routers):
        app.include_router(router)
    return app


def add_fast_route(app: FastAPI, route: FastRoute) -> None:
    """Answer valid posts to `route` inside the server's protocol; `app` needs an ordinary route of the same path."""
    routes: dict[bytes, FastRoute] = app.state.hot_routes
    routes[route.path.encode("ascii")] = route


def client_of(request: Request) -> Client:
    """Who sent `request`, by the one rule for forwarding headers."""
    clients: Clients = request.app.state.clients
    peer = request.client.host if request.client else ""
    return clients.of(peer, request.scope["headers"])


def _explained(lifespan: Lifespan) -> Lifespan:
    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with lifespan(app):
                with watched():
                    yield
        except SetupError as error:
            log.error("refused to start", reason=str(error))
            raise

    return run

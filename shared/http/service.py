"""The application factory of every service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from operator import attrgetter
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from starlette.requests import Request

from shared.errors import SetupError
from shared.http.client import Client, ClientResolver
from shared.http.docs import docs_router
from shared.http.fast_routes import FastRoute, ResponseHeads
from shared.http.limits import ConnectionLimits
from shared.http.middleware import AppMiddleware
from shared.http.openapi import DocumentedApp
from shared.http.probes import Readiness, probe_router
from shared.http.problem import ProblemPages, add_problem_handlers
from shared.logging import log
from shared.settings import ServiceSettings
from shared.watchdog import watch_event_loop

if TYPE_CHECKING:
    from shared.kafka.subscription import Subscription

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
    pages: ProblemPages | None = None,
    subscriptions: Sequence[Subscription] = (),
) -> FastAPI:
    """Create an application with probes, metrics, problem details, cross-origin rules, limits and security headers.

    `readiness` reports the missing parts; empty means ready. `degraded` reports the parts that the process works
    without. With `pages`, their static files are served and a browser gets every error as a page; `subscriptions` are
    described in the AsyncAPI document. Routers contain whole paths (no prefixes), because metrics and logs name a
    request by its route's path; the name of a route is its operation's id in the OpenAPI document, where it must stay.
    `app.state.closing` is set when the server begins to shut down, so that endless answers can end; `add_fast_route`
    gives an intake its fast route.
    """
    server = {"url": getattr(settings, f"{service}_url")}
    app = DocumentedApp(
        title=title, lifespan=_log_setup_errors(lifespan), docs_url=None, redoc_url=None, servers=[server]
    )
    app.state.settings = settings
    app.state.client_resolver = ClientResolver(settings.trusted_proxies, settings.country_header)
    app.state.closing = asyncio.Event()
    app.state.fast_routes = {}
    app.state.response_heads = ResponseHeads()
    app.state.connection_limits = ConnectionLimits()
    add_problem_handlers(app, pages)
    app.add_middleware(AppMiddleware)
    for router in (probe_router(service, settings, readiness, degraded, subscriptions), docs_router(), *routers):
        app.include_router(router, generate_unique_id_function=attrgetter("name"))
    if pages is not None:
        app.router.routes.extend(pages.routes)
    return app


def add_fast_route(app: FastAPI, route: FastRoute) -> None:
    """Answer valid requests to `route` inside the server's protocol; `app` needs an ordinary route of the same path."""
    routes: dict[bytes, FastRoute] = app.state.fast_routes
    routes[route.path.encode("ascii")] = route


def resolve_client(request: Request) -> Client:
    """Return the client that sent `request`, by the one rule for forwarding headers."""
    resolver: ClientResolver = request.app.state.client_resolver
    peer = request.client.host if request.client else ""
    return resolver.resolve(peer, request.scope["headers"])


def _log_setup_errors(lifespan: Lifespan) -> Lifespan:
    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with lifespan(app):
                with watch_event_loop():
                    yield
        except SetupError as error:
            log.error("refused to start", reason=str(error))
            raise

    return run

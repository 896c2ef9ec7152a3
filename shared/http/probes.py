"""Probes of every process: liveness, readiness, metrics, and the AsyncAPI document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.responses import JSONResponse, Response

from shared.settings import ServiceSettings

if TYPE_CHECKING:
    from shared.kafka.subscription import Subscription

Readiness = Callable[[], Mapping[str, str]]


def probe_router(
    service: str,
    settings: ServiceSettings,
    readiness: Readiness,
    degraded: Readiness,
    subscriptions: Sequence[Subscription] = (),
) -> APIRouter:
    """Return the routes that the gateway never exposes.

    `readiness` reports the missing parts; the process is ready when there are none. `degraded` reports the parts that
    the process works without.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        missing = dict(readiness())
        body: dict[str, Any] = {
            "ready": not missing,
            "missing": missing,
            "degraded": dict(degraded()),
            "kafka_flush": settings.kafka_flush,
        }
        return JSONResponse(body, status_code=503 if missing else 200)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    @router.get("/asyncapi.json")
    def asyncapi_document() -> JSONResponse:
        return JSONResponse(_build_document(service, tuple(subscriptions)))

    return router


@lru_cache(maxsize=1)
def _build_document(service: str, subscriptions: tuple[Subscription, ...]) -> dict[str, Any]:
    # Imported on the first request: FastStream takes 20 MB that a busy intake does not need.
    from shared import asyncapi

    return asyncapi.build_document(service, subscriptions)

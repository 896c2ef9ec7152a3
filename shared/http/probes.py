"""What the platform asks of every process: is it alive, is it ready, what has it counted, what does it speak."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.responses import JSONResponse, Response

from shared.settings import ServiceSettings

Readiness = Callable[[], Mapping[str, str]]


def probes(service: str, settings: ServiceSettings, readiness: Readiness, degraded: Readiness) -> APIRouter:
    """Routes that the gateway never lets out.

    `readiness` says what is missing, by part; the process is ready when nothing is. `degraded` says what a process
    does without that serves people all the same.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def ready() -> JSONResponse:
        missing = dict(readiness())
        body: dict[str, Any] = {
            "ready": not missing,
            "missing": missing,
            "degraded": dict(degraded()),
            "kafka_flush": settings.kafka_flush,
        }
        return JSONResponse(body, status_code=503 if missing else 200)

    @router.get("/metrics")
    async def measured() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    @lru_cache(maxsize=1)
    def events() -> dict[str, Any]:
        # Imported when asked for: FastStream is 20 MB that a busy intake need not hold.
        from shared import asyncapi

        return asyncapi.document(service)

    @router.get("/asyncapi.json")
    def spoken() -> JSONResponse:
        return JSONResponse(events())

    return router

"""Which errors of a route are an outage, 503, and which a fault of ours, 500."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
from aiokafka.errors import KafkaConnectionError
from fastapi import APIRouter, FastAPI
from structlog.testing import capture_logs

from shared.errors import TransientError
from shared.http.service import create_app
from shared.settings import ServiceSettings


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


async def answer_to(error: Exception) -> tuple[int, list[str]]:
    """Return the status of a route that raises `error`, and what is logged."""
    router = APIRouter()

    @router.get("/fails")
    async def fails() -> None:
        raise error

    app = create_app(
        service="marathon",
        title="T",
        settings=ServiceSettings(database_url="postgresql://nobody@127.0.0.1/none", port=1),
        lifespan=lifespan,
        routers=[router],
        readiness=dict,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://marathon") as client:
        with capture_logs() as lines:
            answer = await client.get("/fails")
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, [line["event"] for line in lines]


@pytest.mark.parametrize(
    "error",
    [
        TransientError("away"),
        KafkaConnectionError(),
        ConnectionRefusedError(111, "Connect call failed"),
        OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] Connect call failed"),
        TimeoutError(),
        asyncpg.CannotConnectNowError("starting"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InterfaceError("pool is closing"),
        asyncpg.InterfaceError("cannot call Connection.fetch(): connection has been released back to the pool"),
    ],
    ids=lambda error: f"{type(error).__name__}-{error}"[:40],
)
async def test_what_waiting_can_mend_is_a_503(error: Exception) -> None:
    assert await answer_to(error) == (503, [])


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory", "keys/organisation.pem"),
        PermissionError(13, "Permission denied", "keys/organisation.pem"),
        asyncpg.InterfaceError("the server expects 1 argument for this query, 0 were passed"),
        asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
        asyncpg.UndefinedTableError("no such table"),
        KeyError("campaign"),
    ],
    ids=lambda error: f"{type(error).__name__}-{error}"[:40],
)
async def test_a_fault_of_ours_is_a_500_and_is_logged(error: Exception) -> None:
    assert await answer_to(error) == (500, ["request failed"])

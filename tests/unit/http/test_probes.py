"""The probes by which a process reports its state to the platform."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from shared.http.service import create_app
from shared.settings import ServiceSettings


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


async def get_readyz(missing: Mapping[str, str], degraded: Mapping[str, str]) -> httpx.Response:
    app = create_app(
        service="marathon",
        title="T",
        settings=ServiceSettings(database_url="postgresql://nobody@127.0.0.1/none", port=1),
        lifespan=lifespan,
        routers=[],
        readiness=lambda: missing,
        degraded=lambda: degraded,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://marathon") as client:
        return await client.get("/readyz")


async def test_a_process_that_lacks_something_is_not_ready_and_names_it() -> None:
    answer = await get_readyz({"catalog": "not read yet"}, {})
    assert (answer.status_code, answer.json()["missing"]) == (503, {"catalog": "not read yet"})


async def test_a_process_that_goes_on_without_something_is_ready_and_names_it() -> None:
    answer = await get_readyz({}, {"petitions.signatures.v1/3": "halted: a gap"})
    assert answer.status_code == 200
    assert (answer.json()["ready"], answer.json()["missing"]) == (True, {})
    assert answer.json()["degraded"] == {"petitions.signatures.v1/3": "halted: a gap"}

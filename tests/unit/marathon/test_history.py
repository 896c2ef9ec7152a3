"""The history of a campaign while the database does not answer: requests wait only briefly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from services.marathon.domain.document import first_document
from services.marathon.http import history, totals
from services.marathon.http.documents import TotalsDocuments
from services.marathon.http.history import HistoryCache
from services.marathon.http.live import LiveBoard
from services.marathon.http.pages import last_hour
from shared.catalog import Catalog
from shared.clock import parse_rfc3339
from shared.database import create_pool
from shared.errors import TransientError
from shared.events.marathon import Policies
from shared.http.problem import add_problem_handlers
from tests.support.clock import ManualClock
from tests.support.page_samples import campaign

NOON = parse_rfc3339("2026-12-01T12:00:00Z")
CAMPAIGN = campaign(slug="c", cases=("ana",))


@dataclass
class SilentDatabase:
    """A history cache on a database that accepts connections and never answers."""

    cache: HistoryCache
    catalog: Catalog
    connections: int = 0


@pytest.fixture
async def database(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SilentDatabase]:
    monkeypatch.setattr(history, "WAIT_TIMEOUT_S", 0.2)
    catalog = Catalog("nowhere:9092")
    catalog.campaigns["c"] = CAMPAIGN
    catalog.totals["c"] = first_document(CAMPAIGN, NOON)
    database = SilentDatabase(HistoryCache(catalog, ManualClock(NOON)), catalog)
    writers: list[asyncio.StreamWriter] = []

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        database.connections += 1
        writers.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = await create_pool(
        f"postgresql://nobody@127.0.0.1:{port}/none?sslmode=disable", application_name="test", min_size=0
    )
    database.cache.pool = pool
    yield database
    pool.terminate()
    for writer in writers:
        writer.close()
    server.close()


async def test_all_who_ask_a_silent_database_are_told_so_in_the_time_that_one_waits(database: SilentDatabase) -> None:
    async with asyncio.timeout(10):
        requests = (database.cache.read(CAMPAIGN, "hour", case=None, last=steps) for steps in range(1, 101))
        answers = await asyncio.gather(*requests, return_exceptions=True)
    assert {type(answer) for answer in answers} == {TransientError}
    assert database.connections == 1


async def test_a_silent_database_is_left_alone_for_a_while_and_boards_stand_without_their_minutes(
    database: SilentDatabase,
) -> None:
    minutes = last_hour(database.catalog, database.cache)
    assert [await minutes("c") for _ in range(50)] == [()] * 50
    assert database.connections == 1


async def test_in_safety_mode_neither_the_history_nor_the_board_tells_a_minute(database: SilentDatabase) -> None:
    policies = Policies(confirmation="required", public_evidence=("confirmed",), safety_mode=True)
    database.catalog.campaigns["c"] = msgspec.structs.replace(CAMPAIGN, policies=policies)
    database.catalog.ready = True
    documents = TotalsDocuments(database.catalog, ManualClock(NOON))
    app = FastAPI()
    app.include_router(totals.router(database.catalog, documents, LiveBoard(documents), database.cache))
    add_problem_handlers(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://m") as client:
        for query in ("", "?step=minute", "?step=minute&case=ana", "?step=day&last=1"):
            assert (await client.get(f"/v1/campaigns/c/history{query}")).status_code == 404
    assert await last_hour(database.catalog, database.cache)("c") == ()
    assert database.connections == 0

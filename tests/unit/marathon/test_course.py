"""The course of a campaign while the database is silent: nobody waits long, and the last answer holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from services.marathon.domain.document import first_document
from services.marathon.http import course as module
from services.marathon.http import totals
from services.marathon.http.course import Course
from services.marathon.http.documents import Documents
from services.marathon.http.live import LiveBoard
from services.marathon.http.pages import last_hour
from shared.catalog import Catalog
from shared.clock import SetClock, parse_rfc3339
from shared.database import create_pool
from shared.errors import TransientError
from shared.events.marathon import Policies
from shared.http.problem import add_problem_handlers
from tests.support.page_samples import campaign

NOON = parse_rfc3339("2026-12-01T12:00:00Z")
CAMPAIGN = campaign(slug="c", cases=("ana",))


@dataclass
class Silence:
    """A course whose database takes connections and never says a word."""

    course: Course
    catalog: Catalog
    connections: int = 0


@pytest.fixture
async def silence(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Silence]:
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    catalog = Catalog("nowhere:9092")
    catalog.campaigns["c"] = CAMPAIGN
    catalog.totals["c"] = first_document(CAMPAIGN, NOON)
    made = Silence(Course(catalog, SetClock(NOON)), catalog)
    hung: list[asyncio.StreamWriter] = []

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        hung.append(writer)

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = await create_pool(
        f"postgresql://nobody@127.0.0.1:{port}/none?sslmode=disable", application_name="test", min_size=0
    )
    made.course.pool = pool
    yield made
    pool.terminate()
    for writer in hung:
        writer.close()
    server.close()


async def test_all_who_ask_a_silent_database_are_told_so_in_the_time_that_one_waits(silence: Silence) -> None:
    async with asyncio.timeout(10):
        asked = (silence.course.read(CAMPAIGN, "hour", case=None, last=place) for place in range(1, 101))
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {TransientError}
    assert silence.connections == 1


async def test_a_silent_database_is_left_alone_for_a_while_and_boards_stand_without_their_minutes(
    silence: Silence,
) -> None:
    minutes = last_hour(silence.catalog, silence.course)
    assert [await minutes("c") for _ in range(50)] == [()] * 50
    assert silence.connections == 1


async def test_in_safety_mode_neither_the_history_nor_the_board_tells_a_minute(silence: Silence) -> None:
    policies = Policies(confirmation="required", public_evidence=("confirmed",), safety_mode=True)
    silence.catalog.campaigns["c"] = msgspec.structs.replace(CAMPAIGN, policies=policies)
    silence.catalog.ready = True
    documents = Documents(silence.catalog, SetClock(NOON))
    app = FastAPI()
    app.include_router(totals.router(silence.catalog, documents, LiveBoard(documents), silence.course))
    add_problem_handlers(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://m") as client:
        for query in ("", "?step=minute", "?step=minute&case=ana", "?step=day&last=1"):
            assert (await client.get(f"/v1/campaigns/c/history{query}")).status_code == 404
    assert await last_hour(silence.catalog, silence.course)("c") == ()
    assert silence.connections == 0

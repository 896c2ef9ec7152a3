"""The public addresses of totals over a real server and broker: documents, the live stream, history."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest
import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI
from prometheus_client import REGISTRY

from deploy.local.endpoints import Endpoints
from services.marathon.actions.outbox_records import outbox_record
from services.marathon.domain.document import first_document
from services.marathon.http import campaigns, history, totals
from services.marathon.http.documents import TotalsDocuments
from services.marathon.http.history import HistoryCache
from services.marathon.http.live import LiveBoard
from services.marathon.settings import MarathonSettings
from shared import topics
from shared.catalog import Catalog
from shared.clock import SystemClock, rfc3339
from shared.events.marathon import CampaignChanged, CaseChanged, Policies, TotalsChanged
from shared.http.protocol import FastProtocol
from shared.http.service import create_app
from tests.support.tallies import eventually, pool_on

MakeDatabase = Callable[[str], Awaitable[str]]
ALMOST_A_SECOND = 0.99
TLS = ssl.create_default_context()
"""Created once: this takes a tenth of a second, and no client here uses it."""


@dataclass
class Marathon:
    """marathon's public addresses for one campaign, and the topics that feed them."""

    producer: AIOKafkaProducer
    app: FastAPI
    address: str
    slug: str = field(default_factory=lambda: f"c-{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        now = time.time()
        self.campaign = CampaignChanged(
            slug=self.slug,
            version=1,
            title={"en": "Write"},
            opens=rfc3339(now - 3600),
            closes=rfc3339(now + 3600),
            confirmations_close=rfc3339(now + 7200),
            goal=None,
            languages=("en",),
            policies=Policies(public_threshold=1),
            cases=(f"case-{self.slug}",),
        )
        self.totals = first_document(self.campaign, now)

    async def begin(self) -> None:
        now = time.time()
        case = CaseChanged(
            slug=self.campaign.cases[0],
            version=1,
            campaign=self.slug,
            name="Ana",
            country="FR",
            status="detained",
            story={"en": "A story."},
        )
        for record in (outbox_record(self.campaign, now), outbox_record(case, now)):
            await self.producer.send_and_wait(
                topics.CASES.name, record.value, key=record.key, headers=record.headers, partition=0
            )
        await self.publish(total=0)

    async def publish(self, **changes: Any) -> TotalsChanged:
        """Publish the next document."""
        now = time.time()
        self.totals = msgspec.structs.replace(
            self.totals, version=self.totals.version + 1, as_of=rfc3339(now), **changes
        )
        record = outbox_record(self.totals, now)
        await self.producer.send_and_wait(
            topics.TOTALS.name, record.value, key=record.key, headers=record.headers, partition=0
        )
        return self.totals

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self.address, timeout=20, limits=limits, verify=TLS) as client:
            yield client

    async def served(self) -> int:
        """The version served now."""
        async with self.client() as client:
            answer = await client.get(f"/v1/campaigns/{self.slug}/totals")
            return int(answer.json()["version"]) if answer.status_code == httpx.codes.OK else 0

    @asynccontextmanager
    async def stream(self, **headers: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        async with (
            self.client() as client,
            client.stream("GET", f"/v1/campaigns/{self.slug}/totals/live", headers=headers) as answer,
        ):
            assert answer.status_code == httpx.codes.OK
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


@asynccontextmanager
async def served(platform: Endpoints, database: str) -> AsyncIterator[Marathon]:
    """The application on a port of its own."""
    clock = SystemClock()
    catalog = Catalog(platform["kafka"], source_topics=(topics.CASES, topics.TOTALS))
    documents = TotalsDocuments(catalog, clock)
    board, cache = LiveBoard(documents), HistoryCache(catalog, clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with pool_on(database) as pool:
            app.state.pool = cache.pool = pool
            tasks = [asyncio.create_task(catalog.run()), asyncio.create_task(board.run(app.state.closing))]
            await catalog.wait_ready(30)
            yield
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    app = create_app(
        service="marathon",
        title="marathon",
        settings=MarathonSettings(database_url=database, port=port),
        lifespan=lifespan,
        routers=[campaigns.router(catalog, documents, clock), totals.router(catalog, documents, board, cache)],
        readiness=dict,
    )
    config = uvicorn.Config(app, http=FastProtocol, lifespan="on", log_config=None, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    producer = AIOKafkaProducer(bootstrap_servers=platform["kafka"])
    await producer.start()
    marathon = Marathon(producer, app, f"http://127.0.0.1:{port}")
    try:
        await marathon.begin()
        await eventually(marathon.served, marathon.totals.version)
        yield marathon
    finally:
        app.state.closing.set()
        server.should_exit = True
        await serving
        await producer.stop()


@pytest.fixture
async def marathon(platform: Endpoints, make_database: MakeDatabase) -> AsyncIterator[Marathon]:
    async with served(platform, await make_database("marathon")) as environment:
        yield environment


async def test_the_document_can_be_asked_for_again_cheaply(marathon: Marathon) -> None:
    async with marathon.client() as client:
        path = f"/v1/campaigns/{marathon.slug}/totals"
        first = await client.get(path)
        again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert "max-age=1" in first.headers["cache-control"]
        assert first.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in first.headers
        await marathon.publish(total=5)
        await eventually(marathon.served, marathon.totals.version)
        assert (await client.get(path, headers={"If-None-Match": first.headers["etag"]})).json()["total"] == 5


async def test_what_does_not_exist_is_a_problem(marathon: Marathon) -> None:
    async with marathon.client() as client:
        for path in (
            "/v1/campaigns/nothing",
            "/v1/campaigns/nothing/totals",
            "/v1/campaigns/nothing/totals/live",
            "/v1/campaigns/nothing/history",
            f"/v1/campaigns/{marathon.slug}/history?case=nothing",
            "/v1/cases/nothing",
        ):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
        assert (await client.get(f"/v1/campaigns/{marathon.slug}/history?step=second")).status_code == 422


async def test_campaigns_and_cases_come_with_their_totals(marathon: Marathon) -> None:
    case = marathon.campaign.cases[0]
    await marathon.publish(total=7, public_total=7, by_case={case: 7})
    await eventually(marathon.served, marathon.totals.version)
    async with marathon.client() as client:
        listed = (await client.get("/v1/campaigns")).json()["campaigns"]
        (mine,) = [each for each in listed if each["slug"] == marathon.slug]
        assert (mine["window"], mine["public_total"], mine["cases"]) == ("open", 7, [case])
        assert (await client.get(f"/v1/campaigns/{marathon.slug}")).json() == mine
        assert (await client.get(f"/v1/cases/{case}")).json()["public_total"] == 7


async def test_every_answer_is_as_the_openapi_document_says(marathon: Marathon) -> None:
    values = {"/v1/cases/{slug}": marathon.campaign.cases[0]}
    async with marathon.client() as client:
        document = (await client.get("/openapi.json")).json()
        paths, components = document["paths"], document["components"]
        for path, operations in paths.items():
            content = operations["get"]["responses"]["200"]["content"]
            if not path.startswith("/v1/") or "application/json" not in content:
                continue
            answer = await client.get(path.replace("{slug}", values.get(path, marathon.slug)))
            jsonschema.validate(answer.json(), {**content["application/json"]["schema"], "components": components})
        assert {"/v1/campaigns", "/v1/campaigns/{slug}/totals", "/v1/campaigns/{slug}/totals/live"} <= paths.keys()


async def test_a_stream_begins_with_a_snapshot_and_follows(marathon: Marathon) -> None:
    async with marathon.stream() as events:
        snapshot = await anext(events)
        assert snapshot == msgspec.to_builtins(marathon.totals)
        await marathon.publish(total=1)
        assert (await anext(events))["total"] == 1
        await marathon.publish(total=2)
        assert (await anext(events))["total"] == 2


async def test_a_stream_brings_at_most_one_event_a_second_and_the_last_one_always(marathon: Marathon) -> None:
    async with marathon.stream() as events:
        times, seen = [time.monotonic()], [(await anext(events))["total"]]
        for total in range(1, 31):
            await marathon.publish(total=total)
        while seen[-1] != 30:
            seen.append((await anext(events))["total"])
            times.append(time.monotonic())
        assert all(later - before >= ALMOST_A_SECOND for before, later in itertools.pairwise(times))
        assert len(seen) <= 4


async def test_a_reader_that_comes_back_with_the_current_event_needs_no_snapshot(marathon: Marathon) -> None:
    current = str(marathon.totals.version)
    async with marathon.stream(**{"Last-Event-ID": current}) as events:
        await marathon.publish(total=3)
        assert (await anext(events))["total"] == 3
    async with marathon.stream(**{"Last-Event-ID": current}) as events:
        assert (await anext(events))["total"] == 3


async def test_a_reader_of_http_1_0_gets_the_snapshot_and_is_told_when_to_come_back(marathon: Marathon) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(marathon.address.rpartition(":")[2]))
    writer.write(f"GET /v1/campaigns/{marathon.slug}/totals/live HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(20):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b" 200 " in head.splitlines()[0]
    retry, *event = body.decode().splitlines()
    assert retry == "retry: 2000"
    (data,) = [line.removeprefix("data: ") for line in event if line.startswith("data: ")]
    assert json.loads(data) == msgspec.to_builtins(marathon.totals)


async def test_streams_end_in_order_when_the_process_is_told_to_stop(marathon: Marathon) -> None:
    async with marathon.stream() as events:
        await anext(events)
        marathon.app.state.closing.set()
        assert [event async for event in events] == []
        async with marathon.client() as client:
            refused = await client.get(f"/v1/campaigns/{marathon.slug}/totals/live")
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)


async def test_hundreds_of_streams_get_the_same_and_leave_nothing_behind(marathon: Marathon) -> None:
    async def follow(ready: asyncio.Semaphore) -> int:
        async with marathon.stream() as events:
            await anext(events)
            ready.release()
            return int((await anext(events))["total"])

    async def streams_open() -> float | None:
        return REGISTRY.get_sample_value("milleplumes_marathon_streams_open")

    ready = asyncio.Semaphore(0)
    followers = [asyncio.create_task(follow(ready)) for _ in range(200)]
    async with asyncio.timeout(60):
        for _ in followers:
            await ready.acquire()
    assert await streams_open() == 200
    await marathon.publish(total=99)
    assert set(await asyncio.gather(*followers)) == {99}
    await eventually(streams_open, 0.0)


async def test_head_has_the_headers_of_get_and_opens_no_stream(marathon: Marathon) -> None:
    async with marathon.client() as client:
        path = f"/v1/campaigns/{marathon.slug}"
        get, head = await client.get(path), await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert {**head.headers, "date": ""} == {**get.headers, "date": ""}
        stream = await client.head(f"{path}/totals/live")
        assert (stream.status_code, stream.content) == (200, b"")
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert REGISTRY.get_sample_value("milleplumes_marathon_streams_open") == 0


async def test_history_adds_up_by_minute_hour_and_day(marathon: Marathon) -> None:
    minute = int(time.time()) // 60
    rows = [
        (marathon.slug, minute - 60 * 24 * 500, marathon.campaign.cases[0], "recorded", 1),
        (marathon.slug, minute - 1, marathon.campaign.cases[0], "recorded", 5),
        (marathon.slug, minute, marathon.campaign.cases[0], "recorded", -1),
        (marathon.slug, minute, marathon.campaign.cases[0], "confirmed", 3),
        (marathon.slug, minute, marathon.campaign.cases[0], "self_reported", 50),
    ]
    async with marathon.client() as client:
        path = f"/v1/campaigns/{marathon.slug}/history"
        await marathon.app.state.pool.executemany(
            'INSERT INTO minutes (campaign, minute, "case", evidence, change) VALUES ($1, $2, $3, $4, $5)', rows
        )
        by_minute = (await client.get(path, params={"step": "minute", "last": 10})).json()
        assert [(point["count"], point["total"]) for point in by_minute["points"]] == [(5, 6), (2, 8)]
        assert by_minute["points"][-1]["at"] == rfc3339(minute * 60)
        by_day = (await client.get(path, params={"step": "day", "case": marathon.campaign.cases[0]})).json()
        assert sum(point["count"] for point in by_day["points"]) == 7
        assert by_day["points"][-1]["total"] == 8


async def test_the_last_history_holds_while_the_database_is_silent(
    marathon: Marathon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "FRESH_FOR_S", 0.0)
    monkeypatch.setattr(history, "QUERY_TIMEOUT_S", 0.2)
    path = f"/v1/campaigns/{marathon.slug}/history"
    async with marathon.client() as client, marathon.app.state.pool.acquire() as connection:
        first = await client.get(path)
        async with connection.transaction():
            await connection.execute("LOCK TABLE minutes IN ACCESS EXCLUSIVE MODE")
            for _ in range(3):
                assert (await client.get(path)).content == first.content
            new = await client.get(path, params={"last": 3})
            assert (new.status_code, "retry-after" in new.headers) == (503, True)

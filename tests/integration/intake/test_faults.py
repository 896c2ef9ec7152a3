"""The intake under failures of its broker or of itself: never a false 202, never an endless wait."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from deploy.local.endpoints import Endpoints
from deploy.local.topics import create
from tests.support.intakes import Intake, intake, publish_and_wait, read_records, signature
from tests.support.running import MilleRun, mille_run, temporary_home
from tests.support.seeding import Seed, unique
from tests.support.waiting import stays, wait_until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
MAX_RESPONSE_SECONDS = 7.0
"""The promised 5 s, with a margin for a busy machine."""


@dataclass
class OwnPlatform:
    """A platform of its own, because its broker will be stopped and killed."""

    running: MilleRun
    folder: Path
    platform: Endpoints = field(init=False)

    def __post_init__(self) -> None:
        self.platform = self.running.wait_until_up()

    def broker(self) -> int:
        return self.running.endpoints()["platform"]["kafka"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own_platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnPlatform]:
    with temporary_home() as home, mille_run(home, "--platform-only") as running:
        yield OwnPlatform(running, tmp_path_factory.mktemp("faults"))


@dataclass
class Poster:
    """Posts one signature after another, and records what was acknowledged."""

    running: Intake
    seed: Seed
    name: str
    acknowledged: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    slowest: float = 0.0
    number: int = 0

    async def post(self, client: httpx.AsyncClient) -> int:
        self.number += 1
        began = time.monotonic()
        body = signature(self.seed, email=f"{self.name}.{self.number}@example.org")
        try:
            answer = await client.post("/v1/signatures", json=body)
        except httpx.TransportError:
            return 0
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.statuses.append(answer.status_code)
        if answer.status_code == 202:
            self.acknowledged.append(answer.json()["receipt"])
        else:
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
        return answer.status_code

    async def post_until(self, status: int, within: float) -> None:
        """Post until an answer has `status`."""
        async with self.running.client() as client:

            async def is_answered() -> bool:
                return await self.post(client) == status

            await wait_until(is_answered, within)

    async def post_until_set(self, done: asyncio.Event) -> None:
        async with self.running.client() as client:
            while not done.is_set():
                await self.post(client)

    async def check_stored(self) -> None:
        """Check that every receipt leads to its record."""
        for receipt in self.acknowledged:
            found = self.running.read_receipt(receipt)
            (record,) = await read_records(self.running.platform, found.topic, found.partition, found.offset, 1)
            assert record.key == found.key


async def test_a_broker_that_stands_still_is_a_503_in_time_and_then_it_goes_on(own_platform: OwnPlatform) -> None:
    async with intake(own_platform.platform, "petitions", own_platform.folder) as running:
        seed = Seed(unique("still"), time.time())
        await publish_and_wait(running, seed)
        poster = Poster(running, seed, "still")
        await poster.post_until(202, 10)
        broker = own_platform.broker()
        os.kill(broker, signal.SIGSTOP)
        try:
            async with running.client() as client:
                first = await asyncio.gather(*(poster.post(client) for _ in range(20)))
                assert set(first) == {503}
                assert poster.slowest < MAX_RESPONSE_SECONDS
                began = time.monotonic()
                assert await poster.post(client) == 503
                assert time.monotonic() - began < 1, "a partition known to be stuck refuses at once"
                for _ in range(3):
                    assert (await client.get("/livez")).status_code == 200
        finally:
            os.kill(broker, signal.SIGCONT)
        await poster.post_until(202, 30)
        await poster.check_stored()


async def test_a_killed_broker_loses_nothing_that_was_acknowledged(own_platform: OwnPlatform) -> None:
    async with intake(own_platform.platform, "petitions", own_platform.folder) as running:
        seed = Seed(unique("killed"), time.time())
        await publish_and_wait(running, seed)
        posters = [Poster(running, seed, f"killed{number}") for number in range(8)]
        done = asyncio.Event()
        posting = [asyncio.create_task(poster.post_until_set(done)) for poster in posters]
        await wait_until(lambda: all(len(poster.acknowledged) > 20 for poster in posters))
        before = own_platform.broker()
        os.kill(before, signal.SIGKILL)
        counts = [len(poster.acknowledged) for poster in posters]
        await wait_until(
            lambda: all(len(poster.acknowledged) > count + 20 for poster, count in zip(posters, counts, strict=True)),
            60,
        )
        done.set()
        await asyncio.gather(*posting)
        assert own_platform.broker() != before
        assert max(poster.slowest for poster in posters) < MAX_RESPONSE_SECONDS
        for poster in posters:
            await poster.check_stored()


async def test_a_killed_intake_has_stored_all_that_it_acknowledged(own_platform: OwnPlatform) -> None:
    seed = Seed(unique("gone"), time.time())
    async with intake(own_platform.platform, "petitions", own_platform.folder) as running:
        await publish_and_wait(running, seed)
        posters = [Poster(running, seed, f"gone{number}") for number in range(8)]
        done = asyncio.Event()
        posting = [asyncio.create_task(poster.post_until_set(done)) for poster in posters]
        await wait_until(lambda: all(len(poster.acknowledged) > 10 for poster in posters))
        running.process.kill()
        done.set()
        await asyncio.gather(*posting)
        for poster in posters:
            await poster.check_stored()


async def test_a_stopped_intake_answers_who_waits_and_ends_well(own_platform: OwnPlatform) -> None:
    seed = Seed(unique("stop"), time.time())
    async with intake(own_platform.platform, "petitions", own_platform.folder) as running:
        await publish_and_wait(running, seed)
        broker = own_platform.broker()
        async with running.client() as client:
            os.kill(broker, signal.SIGSTOP)
            try:
                posting = asyncio.create_task(client.post("/v1/signatures", json=signature(seed)))
                await stays(lambda: not posting.done(), 0.3)
                running.process.send_signal(signal.SIGTERM)
                await stays(lambda: not posting.done() and running.process.poll() is None, 0.5)
            finally:
                os.kill(broker, signal.SIGCONT)
            answer = await posting
            assert answer.status_code == 202
        assert running.stop() == 0
        found = running.read_receipt(answer.json()["receipt"])
        (record,) = await read_records(own_platform.platform, found.topic, found.partition, found.offset, 1)
        assert record.key == found.key


@pytest.mark.parametrize("offset", [86_400, -86_400])
async def test_a_clock_a_day_off_neither_closes_nor_opens_a_campaign(own_platform: OwnPlatform, offset: int) -> None:
    now = time.time()
    seeds = [Seed(unique("now"), now), Seed(unique("early"), now, opens_in=3_600, closes_in=7_200)]
    closed = Seed(unique("over"), now, opens_in=-7_200, closes_in=-3_600)
    wrong = intake(
        own_platform.platform,
        "petitions",
        own_platform.folder,
        sabotage="wrong-clock",
        CLOCK_OFFSET_SECONDS=str(offset),
    )
    async with wrong as running:
        await publish_and_wait(running, *seeds, closed)
        async with running.client() as client:
            statuses = [
                (await client.post("/v1/signatures", json=signature(seed))).status_code for seed in (*seeds, closed)
            ]
            measured = (await client.get("/metrics")).text
        assert statuses == [202, 422, 410]
        (difference,) = re.findall(r"^milleplumes_intake_clock_difference_seconds (\S+)$", measured, re.MULTILINE)
        assert float(difference) == pytest.approx(-offset, abs=5)
        assert "clock differs from the broker's" in running.log.read_text()


async def test_an_intake_does_not_start_on_topics_that_are_not_as_declared(own_platform: OwnPlatform) -> None:
    await create(own_platform.platform["kafka"], flush=False, production=False)
    try:
        with pytest.raises(AssertionError, match="not as declared"):
            async with intake(own_platform.platform, "petitions", own_platform.folder, KAFKA_FLUSH="on"):
                pass
    finally:
        await create(own_platform.platform["kafka"], flush=True, production=False)


async def test_several_intakes_share_one_port(own_platform: OwnPlatform) -> None:
    seed = Seed(unique("shared"), time.time())
    async with intake(own_platform.platform, "petitions", own_platform.folder) as first:
        await publish_and_wait(first, seed)
        port = str(first.port)
        async with intake(own_platform.platform, "petitions", own_platform.folder, PORT=port) as second:
            await second.wait_until_ready()
            for number in range(40):
                async with first.client() as client:
                    answer = await client.post("/v1/signatures", json=signature(seed, email=f"s{number}@example.org"))
                    assert answer.status_code == 202

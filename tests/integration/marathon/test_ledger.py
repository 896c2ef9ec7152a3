"""The ledger with a real broker and database: every tally batch is added once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition, conn

from deploy.local.endpoints import Endpoints
from shared import topics
from shared.errors import TransientError
from shared.events.tallies import Delta
from shared.kafka import subscription_reader
from shared.kafka.subscription_reader import SubscriptionReader
from tests.faults.proxy import NetworkConditions, Proxy
from tests.support.serving import wait_until
from tests.support.tallies import Chain, Sender, delta, eventually, pool_on, running, sender, tally_reader

MakeDatabase = Callable[[str], Awaitable[str]]
MakeTopic = Callable[..., Awaitable[str]]

HEADERS = [("ce_specversion", b"1.0"), ("ce_type", b"actions-counted"), ("ce_dataversion", b"1.0")]
SUM = "SELECT coalesce(sum(count), 0)::int FROM cells"


class Marathon:
    """A database, a tally topic and its readers."""

    def __init__(self, pool: asyncpg.Pool, servers: str, send: Sender) -> None:
        self.pool = pool
        self.send = send
        self._servers = servers

    @property
    def topic(self) -> str:
        return self.send.topic

    def reader(self) -> SubscriptionReader:
        return tally_reader(self.pool, self._servers, self.topic, f"group-{self.topic}")

    async def total(self) -> int:
        return int(await self.pool.fetchval(SUM))

    async def halted(self) -> list[str]:
        rows = await self.pool.fetch("SELECT source, partition FROM sources WHERE halted IS NOT NULL ORDER BY 1, 2")
        return [f"{row['source']}/{row['partition']}" for row in rows]

    async def position(self) -> int:
        return int(await self.pool.fetchval("SELECT next FROM positions WHERE topic = $1", self.topic) or 0)


@pytest.fixture
async def marathon(platform: Endpoints, make_database: MakeDatabase, make_topic: MakeTopic) -> AsyncIterator[Marathon]:
    topic = await make_topic(topics.PETITIONS_TALLIES)
    async with pool_on(await make_database("marathon")) as pool, sender(platform["kafka"], topic) as send:
        yield Marathon(pool, platform["kafka"], send)


async def test_batches_add_up_by_cell_minute_and_source(marathon: Marathon) -> None:
    first, second = Chain(0), Chain(1)
    async with running(marathon.reader()):
        await marathon.send.send(
            first.batch(delta(change=3), delta(change=2, country="BE")),
            second.batch(delta(change=5)),
            first.batch(),
            first.batch(delta(change=-1, withdrawn=1)),
        )
        await eventually(marathon.total, 9)
        await eventually(marathon.position, 4)
    cells = await marathon.pool.fetch("SELECT country, count, withdrawn FROM cells ORDER BY country")
    assert [tuple(row) for row in cells] == [("BE", 2, 0), ("FR", 7, 1)]
    assert await marathon.pool.fetchval("SELECT sum(change)::int FROM minutes") == 9
    rows = await marathon.pool.fetch("SELECT partition, first, next, change FROM ledger ORDER BY partition, first")
    assert [tuple(row) for row in rows] == [(0, 0, 10, 5), (0, 10, 20, 0), (0, 20, 30, -1), (1, 0, 10, 5)]


async def test_kafka_is_found_at_any_of_several_addresses(marathon: Marathon) -> None:
    marathon._servers = f"127.0.0.1:1,{marathon._servers}"
    await marathon.send.send(Chain().batch(delta(change=3)))
    async with running(marathon.reader()):
        await eventually(marathon.total, 3)


async def test_a_restart_and_everything_delivered_again_change_nothing(marathon: Marathon) -> None:
    chain = Chain()
    batches = [chain.batch(delta(change=change)) for change in range(1, 11)]
    async with running(marathon.reader()):
        await marathon.send.send(*batches)
        await eventually(marathon.total, 55)
    # The relay may resend batches whose acknowledgement it missed, and the position may be reset.
    await marathon.send.send(*batches[3:])
    await marathon.pool.execute("UPDATE positions SET next = 0")
    async with running(marathon.reader()):
        await eventually(marathon.position, 17)
    assert await marathon.total() == 55
    assert await marathon.halted() == []
    assert await marathon.pool.fetchval("SELECT count(*)::int FROM ledger") == 10


async def test_kafkas_own_offset_ahead_of_the_ledger_skips_nothing(marathon: Marathon) -> None:
    chain = Chain()
    await marathon.send.send(*(chain.batch(delta(change=1)) for _ in range(5)))
    consumer = AIOKafkaConsumer(
        bootstrap_servers=marathon._servers, group_id=f"group-{marathon.topic}", enable_auto_commit=False
    )
    await consumer.start()
    try:
        partition = TopicPartition(marathon.topic, 0)
        consumer.assign([partition])
        await consumer.commit({partition: 5})
    finally:
        await consumer.stop()
    async with running(marathon.reader()):
        await eventually(marathon.total, 5)


async def test_the_totals_move_only_with_the_last_part(marathon: Marathon) -> None:
    parts = Chain().parts([delta(change=1)], [delta(change=2)], [delta(change=4)])
    async with running(marathon.reader()):
        await marathon.send.send(*parts[:2])
        await eventually(marathon.position, 2)
        assert await marathon.total() == 0
    async with running(marathon.reader()):
        await marathon.send.send(parts[1], parts[2])
        await eventually(marathon.total, 7)
    assert await marathon.halted() == []
    assert await marathon.pool.fetchval("SELECT count(*)::int FROM waiting_parts") == 0


async def test_a_source_that_contradicts_the_ledger_halts_alone_and_says_so(marathon: Marathon) -> None:
    bad, good = Chain(0), Chain(1)
    reader = marathon.reader()
    async with running(reader):
        await marathon.send.send(bad.batch(delta(change=1)))
        bad.next += 5
        await marathon.send.send(bad.batch(delta(change=100)), good.batch(delta(change=7)))
        await eventually(marathon.total, 8)
        await eventually(marathon.halted, ["petitions.signatures.v1/0"])

        async def alarmed() -> bool:
            return "petitions.signatures.v1/0" in reader.degraded()

        await eventually(alarmed, True)
        assert reader.missing() == {}


async def test_a_mended_source_goes_on_after_a_restart(marathon: Marathon) -> None:
    chain = Chain(0)
    lost, after = chain.batch(delta(change=2)), chain.batch(delta(change=3))
    async with running(marathon.reader()):
        await marathon.send.send(after)
        await eventually(marathon.halted, ["petitions.signatures.v1/0"])
        await marathon.send.send(lost, after)
        await eventually(marathon.position, 3)
        assert await marathon.total() == 0
    # The missing batch is on the topic, but later: the operator moves `halted_at` on and restarts.
    await marathon.pool.execute("UPDATE sources SET halted_at = 1")
    async with running(marathon.reader()):
        await eventually(marathon.total, 5)
    assert await marathon.halted() == []


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"not json", HEADERS),
        (None, HEADERS),
        (b"{}", [("ce_specversion", b"1.0"), ("ce_type", b"actions-counted"), ("ce_dataversion", b"2.0")]),
        (b"{}", [("garbage", b"\xff\xfe")]),
        (b'{"source":"\xff"}', HEADERS),
        (b'{"x":' + b"[" * 200_000, HEADERS),
    ],
    ids=["no JSON", "no value", "another major", "no CloudEvent", "no UTF-8", "nested deeply"],
)
async def test_a_record_that_cannot_be_read_alarms_and_the_others_are_counted(
    marathon: Marathon, value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    chain = Chain()
    async with running(marathon.reader()):
        await marathon.send.send(chain.batch(delta(change=1)))
        await marathon.send.send_raw(value, headers)
        await marathon.send.send(chain.batch(delta(change=2)))
        await eventually(marathon.total, 3)
        assert await marathon.halted() == [f"{marathon.topic}/-1"]


async def test_a_record_that_cannot_be_read_does_not_keep_a_new_process_from_being_ready(marathon: Marathon) -> None:
    await marathon.send.send_raw(b"not json", [])
    for reader in (marathon.reader(), marathon.reader()):

        async def seen(reader: SubscriptionReader = reader) -> tuple[dict[str, str], set[str]]:
            return dict(reader.missing()), set(reader.degraded())

        async with running(reader):
            await eventually(seen, ({}, {f"{marathon.topic}/-1"}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"accepted_until": ""},
        {"accepted_until": "", "deltas": []},
        {"deltas": [delta(minute=2**31)]},
        {"deltas": [delta(country="\U00020000" * 3000)]},
    ],
    ids=["no time", "no time and no change", "a minute too large", "a word that no index holds"],
)
async def test_a_batch_that_nobody_could_add_halts_its_source_alone(marathon: Marathon, wrong: dict[str, Any]) -> None:
    bad, good = Chain(0), Chain(1)
    await marathon.send.send(
        bad.batch(delta(change=1)),
        msgspec.structs.replace(bad.batch(delta(change=100)), **wrong),
        good.batch(delta(change=7)),
    )
    async with running(marathon.reader()):
        await eventually(marathon.position, 3)
    assert await marathon.total() == 8
    assert await marathon.halted() == ["petitions.signatures.v1/0"]


async def test_a_restored_source_is_taken_back_to_where_it_was_restored(marathon: Marathon) -> None:
    chain = Chain()
    async with running(marathon.reader()):
        await marathon.send.send(*(chain.batch(delta(change=10)) for _ in range(3)))
        await eventually(marathon.total, 30)
        restored = Chain(epoch=1, next=10)
        await marathon.send.send(restored.batch(delta(change=4), records=25))
        await eventually(marathon.total, 14)
    assert await marathon.halted() == []
    rows = await marathon.pool.fetch("SELECT epoch, first, next FROM ledger ORDER BY first")
    assert [tuple(row) for row in rows] == [(0, 0, 10), (1, 10, 35)]
    record = await marathon.pool.fetch("SELECT reason, change FROM corrections")
    assert [tuple(row) for row in record] == [("source-restored", -20)]


async def test_a_restore_to_the_middle_of_a_range_halts(marathon: Marathon) -> None:
    chain = Chain()
    async with running(marathon.reader()):
        await marathon.send.send(chain.batch(delta(change=10)), Chain(epoch=1, next=5).batch(delta(change=4)))
        await eventually(marathon.halted, ["petitions.signatures.v1/0"])
    assert await marathon.total() == 10


async def test_readers_that_come_and_go_count_everything_once(marathon: Marathon) -> None:
    rng = random.Random(7)
    chains = [Chain(partition) for partition in range(4)]
    expected = 0

    async def produce(batches: int) -> None:
        nonlocal expected
        for _ in range(batches):
            deltas: list[Delta] = [
                delta(change=rng.randint(-2, 9), country=rng.choice(["FR", "BE", "CH"]))
                for _ in range(rng.randint(0, 4))
            ]
            batch = rng.choice(chains).batch(*deltas, records=rng.randint(1, 30))
            expected += sum(each.change for each in deltas)
            await marathon.send.send(batch)
            if rng.random() < 0.2:
                await marathon.send.send(batch)

    for _ in range(4):
        async with running(marathon.reader()):
            await produce(30)
            async with running(marathon.reader()):
                # Leaves while the first one is reading.
                await produce(30)
        await produce(10)
        async with running(marathon.reader()):
            await eventually(marathon.total, expected, timeout_s=60)
    assert await marathon.halted() == []
    rows = await marathon.pool.fetch("SELECT partition, next, first, previous_hash, hash FROM ledger ORDER BY 1, 2")
    for before, after in itertools.pairwise(rows):
        if before["partition"] == after["partition"]:
            assert (after["first"], after["previous_hash"]) == (before["next"], before["hash"])


@asynccontextmanager
async def proxied(port: int) -> AsyncIterator[Proxy]:
    """A proxy before `port` of the loopback."""
    proxy = Proxy(0, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts so short that an outage of two seconds is a long one."""
    for name, value in (
        ("RETRY_TIMEOUT_S", 0.3),
        ("WATCH_INTERVAL_S", 0.2),
        ("STUCK_AFTER_S", 1.0),
        ("START_TIMEOUT_S", 1.0),
        ("MAX_UNANSWERED_CHECKS", 4),
    ):
        monkeypatch.setattr(subscription_reader, name, value)


async def check_survives(
    reader: SubscriptionReader, marathon: Marathon, proxy: Proxy, weather: NetworkConditions
) -> None:
    """Check that `reader` resumes by itself after bad `weather`, during which a tally batch arrives."""
    chain = Chain()

    async def is_degraded() -> bool:
        return "tally batches" in reader.degraded()

    async def is_well() -> tuple[int, dict[str, str]]:
        return await marathon.total(), dict(reader.degraded())

    async with running(reader) as task:
        await marathon.send.send(chain.batch(delta(change=3)))
        await eventually(is_well, (3, {}))
        proxy.set(NetworkConditions(cut=True))
        proxy.set(weather)
        await marathon.send.send(chain.batch(delta(change=4)))
        await eventually(is_degraded, True)
        await asyncio.wait({task}, timeout=2 * subscription_reader.STUCK_AFTER_S)
        assert not task.done(), task
        proxy.clear()
        await eventually(is_well, (7, {}), timeout_s=60)


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize(
    "weather", [NetworkConditions(cut=True), NetworkConditions(silent=True)], ids=["cut off", "silent"]
)
async def test_a_reader_goes_on_after_kafka_was_away_for_long(
    marathon: Marathon, weather: NetworkConditions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxied(int(marathon._servers.rpartition(":")[2])) as proxy:

        async def create_conn(host: str, _port: int, **settings: Any) -> Any:
            return await conn.create_conn(host, proxy.port, **settings)

        with monkeypatch.context() as patched:
            patched.setattr("aiokafka.client.create_conn", create_conn)
            await check_survives(marathon.reader(), marathon, proxy, weather)


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize(
    "weather", [NetworkConditions(cut=True), NetworkConditions(silent=True)], ids=["cut off", "silent"]
)
async def test_a_reader_goes_on_after_postgresql_was_away_for_long(
    platform: Endpoints, make_database: MakeDatabase, make_topic: MakeTopic, weather: NetworkConditions
) -> None:
    topic, url = await make_topic(topics.PETITIONS_TALLIES), await make_database("marathon")
    port = urlsplit(url).port
    assert port is not None
    async with (
        proxied(port) as proxy,
        pool_on(url) as pool,
        pool_on(url.replace(f":{port}/", f":{proxy.port}/")) as through,
        sender(platform["kafka"], topic) as send,
    ):
        reader = tally_reader(through, platform["kafka"], topic, f"group-{topic}")
        await check_survives(reader, Marathon(pool, platform["kafka"], send), proxy, weather)


@pytest.mark.usefixtures("short_timeouts")
async def test_a_reader_that_stands_still_although_all_answer_ends(marathon: Marathon) -> None:
    reader = marathon.reader()
    async with marathon.pool.acquire() as other, other.transaction():
        await other.execute("SET LOCAL idle_in_transaction_session_timeout = 0")

        async def block() -> None:
            await wait_until(lambda: not reader.missing())
            await other.execute("LOCK TABLE sources IN EXCLUSIVE MODE")
            await marathon.send.send(Chain().batch(delta(change=3)))

        blocking = asyncio.create_task(block())
        with pytest.raises(TransientError, match="although there is lag"):
            await asyncio.wait_for(reader.run(), 60)
        await blocking

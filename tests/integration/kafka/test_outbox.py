"""The outbox: what a transaction says leaves for Kafka in order, at least once, and only if it was committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer, conn
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from deploy.local.endpoints import Endpoints
from services.petitions.consumers import SIGNATURES
from shared.database import connected, create_pool
from shared.errors import PermanentError
from shared.kafka.outbox import LOCK, OutboxRecord, OutboxRelay, put_outbox
from tests.faults.proxy import Proxy, Weather
from tests.support.counting import PARTITIONS, World, world
from tests.support.tallies import eventually

LOCKS = """
FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND datname = current_database()
"""


@pytest.fixture
async def made(platform: Endpoints, make_database: Callable[[str], Awaitable[str]]) -> AsyncIterator[World]:
    async with world(SIGNATURES, await make_database("petitions"), platform["kafka"]) as it:
        yield it


def record(made: World, value: bytes, partition: int = 0) -> OutboxRecord:
    return OutboxRecord(made.counted.dead_letters.name, partition, b"key", [("ce_type", b"test")], value)


async def say(made: World, *values: bytes, partition: int = 0) -> None:
    async with connected(made.pool) as connection, connection.transaction():
        await put_outbox(connection, [record(made, value, partition) for value in values])


async def said(made: World) -> list[bytes]:
    return [one.value for one in await made.records(made.counted.dead_letters.name, PARTITIONS)]


@asynccontextmanager
async def relaying(made: World, kafka: str | None = None, database: str | None = None) -> AsyncIterator[asyncpg.Pool]:
    pool = await create_pool(database or made.database, application_name="relay", max_size=2)
    relay = asyncio.create_task(OutboxRelay(pool, kafka or made.kafka, service="petitions").run())
    try:
        yield pool
    finally:
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay
        await pool.close()


async def test_what_is_put_leaves_in_order_and_then_is_gone(made: World) -> None:
    await say(made, *(b"%d" % number for number in range(1200)))
    async with relaying(made):
        await made.until(made.told)
        await say(made, b"last")
        await made.until(made.told)
    assert await said(made) == [*(b"%d" % number for number in range(1200)), b"last"]
    [first, *_] = await made.records(made.counted.dead_letters.name, PARTITIONS)
    assert (first.key, first.headers) == (b"key", (("ce_type", b"test"),))


async def test_what_was_rolled_back_never_leaves(made: World) -> None:
    async with connected(made.pool) as connection:
        with suppress(ZeroDivisionError):
            async with connection.transaction():
                await put_outbox(connection, [record(made, b"never")])
                raise ZeroDivisionError
    await say(made, b"yes")
    async with relaying(made):
        await made.until(made.told)
    assert await said(made) == [b"yes"]


async def test_a_transaction_that_commits_late_is_not_missed(made: World) -> None:
    async with relaying(made), connected(made.pool) as late:
        transaction = late.transaction()
        await transaction.start()
        await put_outbox(late, [record(made, b"late", 1)])
        await say(made, b"early")
        await made.until(made.told)
        await transaction.commit()
        await made.until(made.told)
    assert sorted(await said(made)) == [b"early", b"late"]


async def test_of_two_relays_one_works_and_the_other_takes_over(made: World) -> None:
    async with relaying(made):
        async with relaying(made):
            for number in range(20):
                await say(made, b"%d" % number)
            await made.until(made.told)
        await say(made, b"20")
        await made.until(made.told)
    assert await said(made) == [b"%d" % number for number in range(21)]


async def test_what_stands_in_the_outbox_twice_over_a_crash_leaves_at_least_once(made: World) -> None:
    await say(made, b"a", b"b")
    async with relaying(made) as pool:
        await made.until(made.told)
        # As if the relay had died between the acknowledgement and the deletion.
        await say(made, b"a", b"b")
        await pool.execute(f"SELECT pg_terminate_backend(pid) {LOCKS}")
        await made.until(made.told)
    assert (await said(made))[-2:] == [b"a", b"b"]


async def test_a_relay_that_is_out_of_reach_loses_the_lock_to_another(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kafka.outbox.IDLE_S", 2.0)
    address = urlsplit(made.database)
    proxy = Proxy(0, address.port or 0)
    await proxy.start()
    way = address.netloc.replace(f":{address.port}", f":{proxy.port}")
    async with relaying(made, database=urlunsplit(address._replace(netloc=way))):
        await say(made, b"before")
        await made.until(made.told)
        proxy.set(Weather(silent=True))
        await say(made, b"after")
        async with relaying(made):
            await made.until(made.told)
        proxy.clear()
        await say(made, b"together")
        await made.until(made.told)
    await proxy.close()
    assert await said(made) == [b"before", b"after", b"together"]


async def test_a_relay_that_stood_still_before_it_sent_repeats_nothing_after_what_another_sent_since(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stood_still = False

    async def another_takes_over() -> None:
        connection = await asyncpg.connect(made.database)
        try:
            await connection.execute(f"SELECT pg_terminate_backend(pid) {LOCKS}")
            await put_outbox(connection, [record(made, b"newer")])
            async with relaying(made):
                await eventually(lambda: connection.fetchval("SELECT count(*) FROM outbox"), 0)
        finally:
            await connection.close()

    create_batch: Any = AIOKafkaProducer.create_batch

    def create(producer: AIOKafkaProducer) -> Any:
        nonlocal stood_still
        if not stood_still:
            stood_still = True
            with ThreadPoolExecutor() as elsewhere:
                elsewhere.submit(asyncio.run, another_takes_over()).result(30)
        return create_batch(producer)

    monkeypatch.setattr(AIOKafkaProducer, "create_batch", create)
    await say(made, b"old")
    async with relaying(made):
        await made.until(made.told)
        await say(made, b"last")
        await made.until(made.told)
    assert await said(made) == [b"old", b"newer", b"last"]


async def test_a_relay_that_waits_for_the_lock_shows_how_long_the_oldest_row_has_waited_and_says_so_once(
    made: World,
) -> None:
    ages: set[float] = set()

    async def looked_three_times() -> bool:
        age = REGISTRY.get_sample_value("outbox_age_seconds", {"service": "petitions"}) or 0.0
        if age > 300:
            ages.add(age)
        return len(ages) >= 3

    async with connected(made.pool) as holder:
        await holder.execute("SELECT pg_advisory_lock($1)", LOCK)
        await say(made, b"late")
        await made.pool.execute("UPDATE outbox SET put_at = put_at - interval '5 minutes'")
        with capture_logs() as lines:
            async with relaying(made):
                await made.until(looked_three_times)
    assert [line["event"] for line in lines] == ["outbox waits for another relay, which holds the lock"]


async def test_the_server_ends_sessions_whose_other_end_is_gone_within_half_a_minute(made: World) -> None:
    settings = [f"tcp_keepalives_{name}" for name in ("idle", "interval", "count")]
    idle, interval, count = [int(await made.pool.fetchval(f"SHOW {name}")) for name in settings]
    assert idle + interval * count <= 30
    assert await made.pool.fetchval("SELECT setting::int FROM pg_settings WHERE name = 'tcp_user_timeout'") <= 30_000


async def test_while_the_broker_is_away_nothing_is_lost(made: World) -> None:
    attempts = 0

    def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    async def tried() -> bool:
        return attempts > 3

    await say(made, b"patient")
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as nobody:
        port = nobody.sockets[0].getsockname()[1]
        async with relaying(made, f"127.0.0.1:{port}"):
            await made.until(tried)
    async with relaying(made):
        await made.until(made.told)
    assert await said(made) == [b"patient"]


async def test_a_relay_that_stops_while_the_broker_is_silent_sends_nothing_afterwards(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(0, int(made.kafka.rpartition(":")[2]))
    await proxy.start()

    async def create_conn(host: str, _port: int, **settings: Any) -> Any:
        return await conn.create_conn(host, proxy.port, **settings)

    await say(made, b"before")
    with monkeypatch.context() as patched:
        patched.setattr("aiokafka.client.create_conn", create_conn)
        async with relaying(made, f"127.0.0.1:{proxy.port}"):
            await made.until(made.told)
            proxy.set(Weather(cut=True))
            proxy.set(Weather(silent=True))
            await say(made, b"after")
            await asyncio.sleep(1)
        proxy.clear()
        await asyncio.sleep(2)
    await proxy.close()
    assert await said(made) == [b"before"]
    async with relaying(made):
        await made.until(made.told)
    assert await said(made) == [b"before", b"after"]


async def test_what_a_topic_would_refuse_is_refused_at_once(made: World) -> None:
    with pytest.raises(PermanentError, match="too-large-to-send"):
        await say(made, bytes(2_000_000))
    large = bytes(1_000_000)
    await say(made, large, b"small", large)
    async with relaying(made):
        await made.until(made.told)
    assert await said(made) == [large, b"small", large]

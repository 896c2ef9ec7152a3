"""The outbox: the rows of a transaction are sent to Kafka in order, at least once, and only if it was committed."""

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
from services.petitions.consumers.counted import SIGNATURES
from shared.database import connected, create_pool
from shared.errors import PermanentError
from shared.kafka.outbox import RELAY_LOCK, OutboxRecord, OutboxRelay, put_outbox
from tests.faults.proxy import NetworkConditions, Proxy
from tests.support.counting import PARTITIONS, CountingHarness, counting_harness
from tests.support.tallies import eventually
from tests.support.waiting import stays

LOCKS = """
FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND datname = current_database()
"""


@pytest.fixture
async def harness(
    platform: Endpoints, make_database: Callable[[str], Awaitable[str]]
) -> AsyncIterator[CountingHarness]:
    async with counting_harness(SIGNATURES, await make_database("petitions"), platform["kafka"]) as counting:
        yield counting


def outbox_record(harness: CountingHarness, value: bytes, partition: int = 0) -> OutboxRecord:
    return OutboxRecord(harness.counted.dead_letters.name, partition, b"key", [("ce_type", b"test")], value)


async def put(harness: CountingHarness, *values: bytes, partition: int = 0) -> None:
    async with connected(harness.pool) as connection, connection.transaction():
        await put_outbox(connection, [outbox_record(harness, value, partition) for value in values])


async def sent_values(harness: CountingHarness) -> list[bytes]:
    return [record.value for record in await harness.records(harness.counted.dead_letters.name, PARTITIONS)]


@asynccontextmanager
async def run_relay(
    harness: CountingHarness, kafka: str | None = None, database: str | None = None
) -> AsyncIterator[asyncpg.Pool]:
    pool = await create_pool(database or harness.database, application_name="relay", max_size=2)
    relay = asyncio.create_task(OutboxRelay(pool, kafka or harness.kafka, service="petitions").run())
    try:
        yield pool
    finally:
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay
        await pool.close()


async def test_what_is_put_leaves_in_order_and_then_is_gone(harness: CountingHarness) -> None:
    await put(harness, *(b"%d" % number for number in range(1200)))
    async with run_relay(harness):
        await harness.wait_until(harness.outbox_empty)
        await put(harness, b"last")
        await harness.wait_until(harness.outbox_empty)
    assert await sent_values(harness) == [*(b"%d" % number for number in range(1200)), b"last"]
    [first, *_] = await harness.records(harness.counted.dead_letters.name, PARTITIONS)
    assert (first.key, first.headers) == (b"key", (("ce_type", b"test"),))


async def test_what_was_rolled_back_never_leaves(harness: CountingHarness) -> None:
    async with connected(harness.pool) as connection:
        with suppress(ZeroDivisionError):
            async with connection.transaction():
                await put_outbox(connection, [outbox_record(harness, b"never")])
                raise ZeroDivisionError
    await put(harness, b"yes")
    async with run_relay(harness):
        await harness.wait_until(harness.outbox_empty)
    assert await sent_values(harness) == [b"yes"]


async def test_a_transaction_that_commits_late_is_not_missed(harness: CountingHarness) -> None:
    async with run_relay(harness), connected(harness.pool) as late:
        transaction = late.transaction()
        await transaction.start()
        await put_outbox(late, [outbox_record(harness, b"late", 1)])
        await put(harness, b"early")
        await harness.wait_until(harness.outbox_empty)
        await transaction.commit()
        await harness.wait_until(harness.outbox_empty)
    assert sorted(await sent_values(harness)) == [b"early", b"late"]


async def test_of_two_relays_one_works_and_the_other_takes_over(harness: CountingHarness) -> None:
    async with run_relay(harness):
        async with run_relay(harness):
            for number in range(20):
                await put(harness, b"%d" % number)
            await harness.wait_until(harness.outbox_empty)
        await put(harness, b"20")
        await harness.wait_until(harness.outbox_empty)
    assert await sent_values(harness) == [b"%d" % number for number in range(21)]


async def test_what_stands_in_the_outbox_twice_over_a_crash_leaves_at_least_once(harness: CountingHarness) -> None:
    await put(harness, b"a", b"b")
    async with run_relay(harness) as pool:
        await harness.wait_until(harness.outbox_empty)
        # As if the relay had died between the acknowledgement and the deletion.
        await put(harness, b"a", b"b")
        await pool.execute(f"SELECT pg_terminate_backend(pid) {LOCKS}")
        await harness.wait_until(harness.outbox_empty)
    assert (await sent_values(harness))[-2:] == [b"a", b"b"]


async def test_a_relay_leaves_no_listener_on_a_connection_that_is_about_to_close(
    harness: CountingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(harness, b"a")
    async with run_relay(harness):
        await harness.wait_until(harness.outbox_empty)
        # asyncpg takes no listener off such a connection, and warns, which is an error here, when it is released.
        monkeypatch.setattr(asyncpg.Connection, "is_closed", lambda _connection: True)


async def test_a_relay_that_is_out_of_reach_loses_the_lock_to_another(
    harness: CountingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kafka.outbox.IDLE_TIMEOUT_S", 2.0)
    address = urlsplit(harness.database)
    proxy = Proxy(0, address.port or 0)
    await proxy.start()
    proxied = address.netloc.replace(f":{address.port}", f":{proxy.port}")
    async with run_relay(harness, database=urlunsplit(address._replace(netloc=proxied))):
        await put(harness, b"before")
        await harness.wait_until(harness.outbox_empty)
        proxy.set(NetworkConditions(silent=True))
        await put(harness, b"after")
        async with run_relay(harness):
            await harness.wait_until(harness.outbox_empty)
        proxy.clear()
        await put(harness, b"together")
        await harness.wait_until(harness.outbox_empty)
    await proxy.close()
    assert await sent_values(harness) == [b"before", b"after", b"together"]


async def test_a_relay_that_stood_still_before_it_sent_repeats_nothing_after_what_another_sent_since(
    harness: CountingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspended = False

    async def take_over() -> None:
        connection = await asyncpg.connect(harness.database)
        try:
            await connection.execute(f"SELECT pg_terminate_backend(pid) {LOCKS}")
            await put_outbox(connection, [outbox_record(harness, b"newer")])
            async with run_relay(harness):
                await eventually(lambda: connection.fetchval("SELECT count(*) FROM outbox"), 0)
        finally:
            await connection.close()

    create_batch: Any = AIOKafkaProducer.create_batch

    def create(producer: AIOKafkaProducer) -> Any:
        nonlocal suspended
        if not suspended:
            suspended = True
            with ThreadPoolExecutor() as executor:
                executor.submit(asyncio.run, take_over()).result(30)
        return create_batch(producer)

    monkeypatch.setattr(AIOKafkaProducer, "create_batch", create)
    await put(harness, b"old")
    async with run_relay(harness):
        await harness.wait_until(harness.outbox_empty)
        await put(harness, b"last")
        await harness.wait_until(harness.outbox_empty)
    assert await sent_values(harness) == [b"old", b"newer", b"last"]


async def test_a_relay_that_waits_for_the_lock_shows_how_long_the_oldest_row_has_waited_and_says_so_once(
    harness: CountingHarness,
) -> None:
    ages: set[float] = set()

    async def shown_three_times() -> bool:
        age = REGISTRY.get_sample_value("milleplumes_outbox_age_seconds", {"service": "petitions"}) or 0.0
        if age > 300:
            ages.add(age)
        return len(ages) >= 3

    async with connected(harness.pool) as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", RELAY_LOCK)
        await put(harness, b"late")
        await harness.pool.execute("UPDATE outbox SET put_at = put_at - interval '5 minutes'")
        with capture_logs() as lines:
            async with run_relay(harness):
                await harness.wait_until(shown_three_times)
    assert [line["event"] for line in lines] == ["outbox waits for another relay, which holds the lock"]


async def test_the_server_ends_sessions_whose_other_end_is_gone_within_half_a_minute(harness: CountingHarness) -> None:
    settings = [f"tcp_keepalives_{name}" for name in ("idle", "interval", "count")]
    idle, interval, count = [int(await harness.pool.fetchval(f"SHOW {name}")) for name in settings]
    assert idle + interval * count <= 30
    assert await harness.pool.fetchval("SELECT setting::int FROM pg_settings WHERE name = 'tcp_user_timeout'") <= 30_000


async def test_while_the_broker_is_away_nothing_is_lost(harness: CountingHarness) -> None:
    attempts = 0

    def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    async def retried() -> bool:
        return attempts > 3

    await put(harness, b"patient")
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with run_relay(harness, f"127.0.0.1:{port}"):
            await harness.wait_until(retried)
    async with run_relay(harness):
        await harness.wait_until(harness.outbox_empty)
    assert await sent_values(harness) == [b"patient"]


async def test_a_relay_that_stops_while_the_broker_is_silent_sends_nothing_afterwards(
    harness: CountingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(0, int(harness.kafka.rpartition(":")[2]))
    await proxy.start()

    async def create_conn(host: str, _port: int, **settings: Any) -> Any:
        return await conn.create_conn(host, proxy.port, **settings)

    await put(harness, b"before")
    with monkeypatch.context() as patched:
        patched.setattr("aiokafka.client.create_conn", create_conn)
        async with run_relay(harness, f"127.0.0.1:{proxy.port}"):
            await harness.wait_until(harness.outbox_empty)
            proxy.set(NetworkConditions(cut=True))
            proxy.set(NetworkConditions(silent=True))
            await put(harness, b"after")
            await stays(lambda: harness.pool.fetchval("SELECT count(*) = 1 FROM outbox"), 1)
        proxy.clear()

        async def is_only_the_first_sent() -> bool:
            return await sent_values(harness) == [b"before"]

        await stays(is_only_the_first_sent, 2)
    await proxy.close()
    async with run_relay(harness):
        await harness.wait_until(harness.outbox_empty)
    assert await sent_values(harness) == [b"before", b"after"]


async def test_what_a_topic_would_refuse_is_refused_at_once(harness: CountingHarness) -> None:
    with pytest.raises(PermanentError, match="too-large-to-send"):
        await put(harness, bytes(2_000_000))
    large = bytes(1_000_000)
    await put(harness, large, b"small", large)
    async with run_relay(harness):
        await harness.wait_until(harness.outbox_empty)
    assert await sent_values(harness) == [large, b"small", large]

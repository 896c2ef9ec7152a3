"""Subscriptions on a real broker and database: every event is handled once, and what a handler raises decides."""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, conn
from aiokafka.admin import NewTopic, RecordsToDelete
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from deploy.local.endpoints import Endpoints
from shared import topics
from shared.errors import HaltError, PermanentError, TransientError
from shared.events.cloudevents import Envelope, Headers
from shared.events.notifications import DeliveryUnsubscribed
from shared.kafka import subscription_reader
from shared.kafka.outbox import OutboxRelay
from shared.kafka.records import PartitionBatch
from shared.kafka.redrive import list_dead_letters, read_put_back, redrive
from shared.kafka.subscription import Delivery, Event, Subscription, Unreadable
from shared.kafka.subscription_client import SubscriptionClient
from shared.kafka.subscription_reader import SubscriptionReader
from shared.kafka.topic_check import open_admin
from shared.topics import Topic, dead_letter_name
from tests.support.databases import change_schema
from tests.support.tallies import eventually, pool_on, running

Unsubscribed = Event[DeliveryUnsubscribed]
Body = Callable[[asyncpg.Connection, Unsubscribed], Awaitable[None]]
PARTITIONS = 3
TABLE = """
CREATE TABLE handled (consumer_group text, partition integer, word text, at timestamptz DEFAULT clock_timestamp());
GRANT ALL ON handled TO marathon
"""
INSERT = "INSERT INTO handled (consumer_group, partition, word) VALUES ($1, $2, $3)"


@dataclass
class Stage:
    """A topic of three partitions, and a database in which handlers note what they handled."""

    pool: asyncpg.Pool
    servers: str
    topic: Topic
    producer: AIOKafkaProducer

    def subscription(self, group: str = "group", body: Body | None = None) -> Subscription:
        """Return a subscription whose handler notes each event, and then awaits `body`."""
        subscription = Subscription(group=f"{group}-{self.topic.name}", name="words")

        @subscription.handler(DeliveryUnsubscribed, self.topic)
        async def note(connection: asyncpg.Connection, event: Unsubscribed) -> None:
            await connection.execute(INSERT, group, event.partition, event.data.unsubscribed_at)
            if body is not None:
                await body(connection, event)

        return subscription

    def reader(self, group: str = "group", body: Body | None = None) -> SubscriptionReader:
        return SubscriptionReader(self.subscription(group, body), self.pool, self.servers)

    async def send(self, *words: str, partition: int = 0, name: str = "unsubscribed", version: str = "1.0") -> None:
        headers = Envelope(f"delivery-{name}", source="/test", version=version).headers(b"2026-12-01T12:00:00.000Z")
        for word in words:
            await self.send_raw(msgspec.json.encode({f"{name}_at": word}), headers, partition)

    async def send_raw(self, value: bytes | None, headers: Headers, partition: int = 0) -> None:
        await self.producer.send_and_wait(self.topic.name, value, key=b"key", partition=partition, headers=headers)

    async def handled(self, group: str = "group", partition: int | None = None) -> list[str]:
        rows = await self.pool.fetch(
            "SELECT word FROM handled WHERE consumer_group = $1 AND partition = coalesce($2, partition) ORDER BY at",
            group,
            partition,
        )
        return [row["word"] for row in rows]

    async def positions(self, group: str = "group") -> list[int]:
        rows = await self.pool.fetch(
            "SELECT next FROM positions WHERE consumer_group = $1 ORDER BY partition", f"{group}-{self.topic.name}"
        )
        return [row["next"] for row in rows]

    async def dead_letters(self) -> list[tuple[str, bytes]]:
        """The reason and value of each dead letter in the outbox."""
        rows = await self.pool.fetch("SELECT topic, headers, value FROM outbox ORDER BY id")
        assert {row["topic"] for row in rows} <= {dead_letter_name(self.topic.name)}
        return [
            (dict(msgspec.msgpack.decode(row["headers"], type=Headers))["dlq_reason"].decode(), row["value"])
            for row in rows
        ]


@pytest.fixture
async def stage(
    platform: Endpoints,
    make_database: Callable[[str], Awaitable[str]],
    make_topic: Callable[..., Awaitable[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Stage]:
    monkeypatch.setattr(subscription_reader, "WATCH_INTERVAL_S", 0.2)
    name, url = await make_topic(topics.DELIVERIES, partitions=PARTITIONS), await make_database("marathon")
    await change_schema(platform, url, TABLE)
    producer = AIOKafkaProducer(bootstrap_servers=platform["kafka"])
    await producer.start()
    try:
        async with pool_on(url) as pool:
            yield Stage(pool, platform["kafka"], replace(topics.DELIVERIES, name=name), producer)
    finally:
        await producer.stop()


def degraded_parts(reader: SubscriptionReader) -> Callable[[], Awaitable[set[str]]]:
    async def read() -> set[str]:
        return set(reader.degraded())

    return read


async def test_each_event_is_handled_once_while_members_come_go_and_lose_their_connections(stage: Stage) -> None:
    rng = random.Random(7)
    expected: list[str] = []

    async def produce(count: int) -> None:
        for _ in range(count):
            expected.append(word := secrets.token_hex(4))
            await stage.send(word, partition=rng.randrange(PARTITIONS))

    for round_ in range(4):
        async with AsyncExitStack() as stack:
            for _ in range(1 + round_ % 2):
                await stack.enter_async_context(running(stage.reader()))
            await produce(20)
            # A connection dies in the middle of whatever it does.
            await stage.pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND state <> 'idle'"
            )
            await produce(20)
        # Kafka's own offsets are wrong in either direction.
        await commit_offset(stage, offset=rng.choice([0, 10]))
    async with running(stage.reader()):
        await eventually(lambda: sorted_words(stage), sorted(expected), timeout_s=60)
    for partition in range(PARTITIONS):
        words = await stage.handled(partition=partition)
        assert words == [word for word in expected if word in set(words)]


async def test_a_deploy_that_refuses_everything_halts_the_partition_and_sets_nothing_aside(stage: Stage) -> None:
    reader = stage.reader()
    await stage.send(*(str(number) for number in range(60)), version="2.0")
    await stage.send("a", partition=1)
    async with running(reader):
        await eventually(lambda: halted(reader, f"{stage.topic.name}/0"), expected=True)
        await eventually(stage.handled, ["a"])
    assert (await stage.positions(), await stage.dead_letters()) == ([0, 1, 0], [])


async def halted(reader: SubscriptionReader, partition: str) -> bool:
    return "over 50 records in a row" in reader.degraded().get(partition, "")


async def sorted_words(stage: Stage) -> list[str]:
    return sorted(await stage.handled())


async def commit_offset(stage: Stage, offset: int) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stage.servers, group_id=f"group-{stage.topic.name}", enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(stage.topic.name, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.commit(dict.fromkeys(partitions, offset))
    finally:
        await consumer.stop()


async def test_two_groups_in_one_database_each_handle_everything(stage: Stage) -> None:
    await stage.send("a", "b")
    async with running(stage.reader("first")):
        await eventually(lambda: stage.handled("first"), ["a", "b"])
    await stage.send("c")
    async with running(stage.reader("first")), running(stage.reader("second")):
        await eventually(lambda: stage.handled("first"), ["a", "b", "c"])
        await eventually(lambda: stage.handled("second"), ["a", "b", "c"])
    assert await stage.positions("first") == await stage.positions("second") == [3, 0, 0]


async def test_a_refused_event_is_a_dead_letter_leaves_no_trace_and_holds_up_nothing(stage: Stage) -> None:
    async def refuse(_connection: asyncpg.Connection, event: Unsubscribed) -> None:
        if event.data.unsubscribed_at == "b":
            raise PermanentError("not-wanted")

    await stage.send("a", "b", "c")
    with capture_logs() as lines:
        async with running(stage.reader(body=refuse)):
            await eventually(stage.handled, ["a", "c"])
    assert [line for line in lines if line["event"] == "dead letter"] == [
        {
            "event": "dead letter",
            "log_level": "warning",
            "group": stage.subscription().group,
            "topic": stage.topic.name,
            "partition": 0,
            "offset": 1,
            "reason": "not-wanted",
        }
    ]
    assert await stage.dead_letters() == [("not-wanted", b'{"unsubscribed_at":"b"}')]
    assert await stage.positions() == [3, 0, 0]


async def test_an_event_that_postgresql_cannot_store_is_a_dead_letter(stage: Stage) -> None:
    await stage.send("a", "b\0", "c")
    async with running(stage.reader()):
        await eventually(stage.handled, ["a", "c"])
    assert [reason for reason, _ in await stage.dead_letters()] == ["not-storable"]


async def test_what_cannot_be_read_is_a_dead_letter_and_what_is_not_declared_is_passed_over(stage: Stage) -> None:
    event = Envelope("delivery-unsubscribed", source="/test").headers(b"2026-12-01T12:00:00.000Z")
    await stage.send("a")
    await stage.send("over", name="resubscribed")
    await stage.send("over", name="sent", version="2.0")
    await stage.send("later", version="2.0")
    await stage.send_raw(b"{}", [])
    await stage.send_raw(None, event)
    await stage.send_raw(b"{", event)
    await stage.send_raw(b"{}", event)
    await stage.send_raw(b'{"unsubscribed_at": "\xff"}', event)
    await stage.send("minor", version="1.7")
    async with running(stage.reader()):
        await eventually(stage.handled, ["a", "minor"])
    assert [reason for reason, _ in await stage.dead_letters()] == [
        "unknown-version",
        "not-a-cloudevent",
        "no-value",
        "unreadable",
        "invalid",
        "unreadable",
    ]


async def test_what_may_work_later_is_tried_until_it_does_and_other_partitions_go_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_reader, "RETRY_TIMEOUT_S", 0.5)
    monkeypatch.setattr(subscription_reader, "MAX_RETRY_PAUSE_S", 0.2)
    monkeypatch.setattr(subscription_reader, "STUCK_AFTER_S", 2.0)
    ready = asyncio.Event()
    tries: list[str] = []

    async def wait(_connection: asyncpg.Connection, event: Unsubscribed) -> None:
        tries.append(event.data.unsubscribed_at)
        if event.data.unsubscribed_at == "b" and not ready.is_set():
            raise TransientError("not yet")

    reader = stage.reader(body=wait)
    await stage.send("a", "b", "c", partition=0)
    async with running(reader) as task:
        await eventually(degraded_parts(reader), {"words"})
        await stage.send("d", partition=1)
        await eventually(lambda: stage.handled(partition=1), ["d"])
        await asyncio.wait({task}, timeout=1.5 * subscription_reader.STUCK_AFTER_S)
        assert not task.done(), task
        assert await stage.handled(partition=0) == ["a"]
        ready.set()
        await eventually(lambda: stage.handled(partition=0), ["a", "b", "c"])
        await eventually(degraded_parts(reader), set())
    assert tries.count("b") > 3
    assert await stage.dead_letters() == []


@pytest.mark.parametrize("error", [HaltError("two truths"), KeyError("b")], ids=["a contradiction", "a fault"])
async def test_a_halted_partition_skips_nothing_alarms_and_goes_on_with_a_new_process(
    stage: Stage, error: Exception
) -> None:
    async def halt(_connection: asyncpg.Connection, event: Unsubscribed) -> None:
        if event.data.unsubscribed_at == "b":
            raise error

    reader = stage.reader(body=halt)
    place = f"{stage.topic.name}/0"
    async with running(reader):
        await stage.send("a", "b", "c")
        await eventually(degraded_parts(reader), {place})
        await stage.send("d", partition=1)
        await eventually(stage.handled, ["a", "d"])
        assert reader.missing() == {}
        assert await halted_metric(stage) == 1
    assert (await stage.positions(), await stage.dead_letters()) == ([1, 1, 0], [])
    reader = stage.reader()
    async with running(reader):
        await eventually(lambda: stage.handled(partition=0), ["a", "b", "c"])
        await eventually(lambda: halted_metric(stage), 0)
        assert reader.degraded() == {}


async def halted_metric(stage: Stage) -> float | None:
    labels = {"group": f"group-{stage.topic.name}", "topic": stage.topic.name, "partition": "0"}
    return REGISTRY.get_sample_value("milleplumes_partition_halted", labels)


async def test_a_batch_handler_gets_everything_of_a_partition_together_and_refuses_nothing(stage: Stage) -> None:
    subscription = Subscription(group=f"group-{stage.topic.name}", name="words")
    batches: list[list[str]] = []
    committed: list[int] = []

    @subscription.batch(DeliveryUnsubscribed, stage.topic)
    async def apply(
        connection: asyncpg.Connection, deliveries: Sequence[Delivery[DeliveryUnsubscribed]]
    ) -> Callable[[], None]:
        words = [
            delivery.reason if isinstance(delivery, Unreadable) else delivery.data.unsubscribed_at
            for delivery in deliveries
        ]
        if "halt" in words:
            raise PermanentError("not-a-dead-letter")
        await connection.execute(INSERT, "group", 0, words[0])
        batches.append(words)
        return lambda: committed.append(len(words))

    await stage.send("a", "b")
    await stage.send("c", version="2.0")
    reader = SubscriptionReader(subscription, stage.pool, stage.servers)
    async with running(reader):
        await eventually(stage.positions, [3, 0, 0])
        assert [word for batch in batches for word in batch] == ["a", "b", "unknown-version"]
        assert sum(committed) == 3
        await stage.send("halt")
        await eventually(degraded_parts(reader), {f"{stage.topic.name}/0"})
    assert (await stage.positions(), await stage.dead_letters()) == ([3, 0, 0], [])


async def test_a_dead_letter_that_is_put_back_is_for_the_group_that_refused_it(stage: Stage) -> None:
    ready = asyncio.Event()

    async def refuse(_connection: asyncpg.Connection, event: Unsubscribed) -> None:
        if event.data.unsubscribed_at == "b" and not ready.is_set():
            raise PermanentError("not-yet")

    await stage.send("a", "b")
    async with (
        dead_letter_topic(stage),
        running(stage.reader("strict", refuse)),
        running(stage.reader("lax")),
    ):
        await eventually(lambda: stage.handled("lax"), ["a", "b"])
        await eventually(lambda: stage.handled("strict"), ["a"])
        relay = asyncio.create_task(OutboxRelay(stage.pool, stage.servers, service="test").run())
        await eventually(lambda: stage.pool.fetchval("SELECT count(*)::int FROM outbox"), 0)
        relay.cancel()
        async with aclosing(list_dead_letters(stage.servers, stage.topic.name)) as letters:
            refused = [letter async for letter in letters]
        assert [(letter.offset, letter.reason) for letter in refused] == [(1, "not-yet")]
        assert await read_put_back(stage.servers, stage.topic.name, refused) == set()
        ready.set()
        assert [*await redrive(stage.servers, stage.topic.name, refused)] == [refused[0].id]
        assert await read_put_back(stage.servers, stage.topic.name, refused) == {refused[0].id}
        await stage.send("c")
        await eventually(lambda: stage.handled("strict"), ["a", "b", "c"])
        await eventually(lambda: stage.handled("lax"), ["a", "b", "c"])


@asynccontextmanager
async def dead_letter_topic(stage: Stage) -> AsyncIterator[None]:
    name = dead_letter_name(stage.topic.name)
    async with open_admin(stage.servers) as admin:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
        yield
        await admin.delete_topics([name])


async def test_a_log_that_is_not_the_one_that_was_read_is_not_read_on(stage: Stage) -> None:
    await stage.send("a", "b")
    async with running(stage.reader()):
        await eventually(stage.handled, ["a", "b"])
    # As after the topic was replaced by another, which is as long.
    await stage.pool.execute("UPDATE positions SET digest = $1 WHERE next = 2", bytes(16))
    await stage.send("c")
    reader = stage.reader()
    async with running(reader):
        await eventually(degraded_parts(reader), {f"{stage.topic.name}/0"})
        await stage.send("d", partition=1)
        await eventually(stage.handled, ["a", "b", "d"])
        # Whoever has looked at it says where to go on.
        await stage.pool.execute("UPDATE positions SET digest = NULL WHERE next = 2")
        await eventually(stage.handled, ["a", "b", "d", "c"])
        await eventually(degraded_parts(reader), set())


async def test_another_log_that_grows_beyond_the_position_is_not_read_on(stage: Stage) -> None:
    await stage.send("a", "b", "c")
    reader = stage.reader()
    async with running(reader):
        await eventually(stage.handled, ["a", "b", "c"])
        # As after the topic was replaced by a shorter one.
        await stage.pool.execute("UPDATE positions SET next = 4, digest = $1 WHERE next = 3", bytes(16))
        await eventually(degraded_parts(reader), {f"{stage.topic.name}/0"})
        await stage.send("d", "e", "f")
        await stage.send("g", partition=1)
        await eventually(stage.handled, ["a", "b", "c", "g"])

        async def reason() -> str:
            return reader.degraded().get(f"{stage.topic.name}/0", "")

        await eventually(reason, "the record at 3 is not the one that was read")
    assert await stage.positions() == [4, 1, 0]


async def test_a_log_that_ends_before_the_position_or_lost_what_follows_it_is_not_read_on(stage: Stage) -> None:
    await stage.send("a", "b", "c")
    async with running(stage.reader()):
        await eventually(stage.handled, ["a", "b", "c"])
    await stage.pool.execute("UPDATE positions SET next = 7, digest = NULL WHERE next = 3")
    await stage.send("d", partition=1)
    reader = stage.reader()
    async with running(reader):
        await eventually(degraded_parts(reader), {f"{stage.topic.name}/0"})
        await eventually(stage.handled, ["a", "b", "c", "d"])
    await stage.pool.execute("UPDATE positions SET next = 1 WHERE next = 7")
    async with open_admin(stage.servers) as admin:
        await admin.delete_records({TopicPartition(stage.topic.name, 0): RecordsToDelete(2)})
    reader = stage.reader()
    async with running(reader):
        await eventually(degraded_parts(reader), {f"{stage.topic.name}/0"})
        await stage.send("e", partition=1)
        await eventually(stage.handled, ["a", "b", "c", "d", "e"])
    assert await stage.positions() == [1, 2, 0]


async def test_a_client_that_ends_while_it_looks_for_the_brokers_leaves_no_connection_open(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = asyncio.Event()
    create: Any = conn.create_conn

    async def create_conn(*args: Any, **settings: Any) -> Any:
        connection = await create(*args, **settings)
        connected.set()
        return connection

    async def handle(_batches: Sequence[PartitionBatch]) -> bool:
        return True

    monkeypatch.setattr("aiokafka.client.create_conn", create_conn)
    client = SubscriptionClient(stage.subscription(), stage.servers, handle)
    starting = asyncio.create_task(client.start())
    async with asyncio.timeout(20):
        await connected.wait()
    starting.cancel()
    await asyncio.wait({starting}, timeout=20)
    assert starting.cancelled()
    await client.stop()
    # What is left open is a warning, and an error here, when it is collected.
    gc.collect()

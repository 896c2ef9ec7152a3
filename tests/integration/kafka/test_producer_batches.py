"""Producer batches on a real broker: acknowledgements report the right offset, and failures come in time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from deploy.local.endpoints import Endpoints
from shared import topics
from shared.clock import SystemClock
from shared.events.cloudevents import Envelope
from shared.kafka.broker_time import BrokerTime
from shared.kafka.producer import ReplaceableProducer
from shared.kafka.producer_batches import BatchTiming, ProducerBatches
from tests.support.clock import ManualClock
from tests.support.clocks import WrongClock
from tests.support.intakes import read_records
from tests.support.waiting import wait_until

HEADERS = Envelope("test-happened", source="/tests").headers(b"2026-12-01T12:00:00Z")


class RecordingListener:
    """A listener that records its notifications."""

    def __init__(self) -> None:
        self.offset: int | None = None
        self.notifications: list[str] = []

    def on_acknowledged(self, partition: int, offset: int) -> None:
        self.offset = offset
        self.notifications.append(f"acknowledged {partition}")

    def on_failed(self) -> None:
        self.notifications.append("failed")


class FailingListener(RecordingListener):
    """A listener that raises when it is notified."""

    def on_acknowledged(self, partition: int, offset: int) -> None:
        super().on_acknowledged(partition, offset)
        raise ValueError("Zyxwvut")


@asynccontextmanager
async def open_batches(
    platform: Endpoints, name: str, *, partitions: int = 1, timing: BatchTiming | None = None, clock: Any = None
) -> AsyncIterator[tuple[ProducerBatches, ReplaceableProducer, BrokerTime]]:
    """Open producer batches on the topic `name`."""
    producer = ReplaceableProducer(platform["kafka"])
    await producer.start()
    await producer.load_metadata(name)
    broker_time = BrokerTime(clock or SystemClock())
    batches = ProducerBatches(replace(topics.SIGNATURES, name=name), partitions, [producer], broker_time, timing)
    sweeper = asyncio.create_task(batches.run())
    try:
        yield batches, producer, broker_time
    finally:
        sweeper.cancel()
        await batches.close()
        await producer.close()


async def test_each_waiter_hears_the_offset_of_its_own_record(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=3)
    async with open_batches(platform, name, partitions=3) as (batches, _, _):
        appended: list[tuple[int, bytes, RecordingListener]] = []
        for round_ in range(20):
            for number in range(50):
                key = os.urandom(16)
                listener = RecordingListener()
                assert batches.append(number % 3, key, b'{"n":%d}' % number, HEADERS, listener)
                appended.append((number % 3, key, listener))
            if round_ % 3 == 0:
                await wait_until(lambda: appended[-1][2].notifications)
        await wait_until(lambda: all(listener.notifications for _, _, listener in appended))
    stored = {
        (partition, record.offset): record.key
        for partition in range(3)
        for record in await read_records(platform, name, partition, 0)
    }
    assert len(stored) == 1_000
    for partition, key, listener in appended:
        assert listener.notifications == [f"acknowledged {partition}"]
        assert listener.offset is not None
        assert stored[partition, listener.offset] == key


async def test_records_of_a_few_milliseconds_share_a_batch(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    async with open_batches(platform, name, timing=BatchTiming(linger_seconds=0.2)) as (batches, _, _):
        offsets = await asyncio.gather(*(batches.append_and_wait(0, b"k" * 16, b"{}", HEADERS) for _ in range(10)))
    assert offsets == list(range(10))
    stored = await read_records(platform, name, 0, 0)
    assert len({record.timestamp for record in stored}) == 1
    assert {record.timestamp_type for record in stored} == {1}


async def test_one_waiters_fault_is_not_the_others(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    async with open_batches(platform, name) as (batches, _, _):
        listeners = [RecordingListener(), FailingListener(), RecordingListener()]
        for listener in listeners:
            batches.append(0, b"k" * 16, b"{}", HEADERS, listener)
        await wait_until(lambda: all(listener.notifications for listener in listeners))
        assert [listener.offset for listener in listeners] == [0, 1, 2]


async def test_a_window_larger_than_a_batch_goes_in_several(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    async with open_batches(platform, name, timing=BatchTiming(linger_seconds=0.1)) as (batches, _, _):
        listeners = [RecordingListener() for _ in range(60)]
        for listener in listeners:
            assert batches.append(0, b"k" * 16, b"x" * 100_000, HEADERS, listener)
        await wait_until(lambda: all(listener.notifications for listener in listeners))
        assert [listener.offset for listener in listeners] == list(range(60))


async def test_a_full_backlog_refuses_at_once_and_takes_again_when_it_has_drained(
    platform: Endpoints, make_topic: Any
) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    async with open_batches(platform, name, timing=BatchTiming(max_backlog_bytes=1)) as (batches, _, _):
        listeners: list[RecordingListener] = []
        while batches.append(0, b"k" * 16, b"x" * 100_000, HEADERS, listener := RecordingListener()):
            listeners.append(listener)
        assert len(listeners) == 11
        assert listener.notifications == []
        await wait_until(lambda: all(listener.notifications for listener in listeners))
        assert await batches.append_and_wait(0, b"k" * 16, b"{}", HEADERS) == 11


async def test_a_record_that_no_batch_could_hold_is_refused_before_it_spoils_anything(
    platform: Endpoints, make_topic: Any
) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    async with open_batches(platform, name) as (batches, _, _):
        assert not batches.append(0, b"k" * 16, b"x" * 2_000_000, HEADERS, RecordingListener())
        assert await batches.append_and_wait(0, b"k" * 16, b"{}", HEADERS) == 0


async def test_a_refused_batch_is_told_and_the_producer_is_replaced(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1, settings={"max.message.bytes": "2000"})
    async with open_batches(platform, name) as (batches, producer, _):
        assert await batches.append_and_wait(0, b"k" * 16, b"{}", HEADERS) == 0
        before = producer.current()
        with pytest.raises(ConnectionError):
            await batches.append_and_wait(0, b"k" * 16, os.urandom(3_000), HEADERS)
        await wait_until(lambda: producer.available)
        assert producer.current() is not before
        assert await batches.append_and_wait(0, b"k" * 16, b"{}", HEADERS) == 1


async def test_closing_answers_everybody_who_waits(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=2)
    async with open_batches(platform, name, partitions=2, timing=BatchTiming(linger_seconds=60)) as (batches, _, _):
        listeners = [RecordingListener() for _ in range(100)]
        for number, listener in enumerate(listeners):
            batches.append(number % 2, b"k" * 16, b"{}", HEADERS, listener)
        await batches.close()
        assert all(
            listener.notifications == [f"acknowledged {number % 2}"] for number, listener in enumerate(listeners)
        )


async def test_a_wrong_clock_is_put_right_by_the_brokers(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    for offset in (86_400.0, -86_400.0):
        async with open_batches(platform, name, clock=WrongClock(offset)) as (batches, _, time):
            before = time.has_estimate
            await batches.append_and_wait(0, b"k" * 16, b"{}", HEADERS)
            assert (before, time.has_estimate) == (False, True)
            assert time.difference == pytest.approx(-offset, abs=1)
            assert time.now() == pytest.approx(SystemClock().now(), abs=1)


def test_each_acknowledgement_bounds_the_difference_of_the_clocks() -> None:
    time = BrokerTime(ManualClock(100.0))
    time.observe(sent=100.0, acknowledged=100.5, appended=100.2)
    assert time.difference == 0
    time.observe(sent=100.0, acknowledged=100.5, appended=103.0)
    assert time.difference == pytest.approx(2.5)
    time.observe(sent=100.0, acknowledged=100.1, appended=102.0)
    assert time.difference == pytest.approx(2.001)
    assert time.now() == pytest.approx(102.001)

"""Produce windows on a real broker: what is acknowledged is where it says, and what is not is said in time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from deploy.local.endpoints import Endpoints
from shared import topics
from shared.clock import SetClock, SystemClock
from shared.events.cloudevents import Envelope
from shared.kafka.broker_time import BrokerTime
from shared.kafka.producer import ReplaceableProducer
from shared.kafka.producer_batches import BatchTiming, ProducerBatches
from tests.support.intakes import records

HEADERS = Envelope("test-happened", source="/tests").headers(b"2026-12-01T12:00:00Z")


class Noted:
    """A waiter that notes what it hears."""

    def __init__(self) -> None:
        self.offset: int | None = None
        self.heard: list[str] = []

    def acknowledged(self, partition: int, offset: int) -> None:
        self.offset = offset
        self.heard.append(f"acknowledged {partition}")

    def failed(self) -> None:
        self.heard.append("failed")


class Faulty(Noted):
    """A waiter that fails when it is told."""

    def acknowledged(self, partition: int, offset: int) -> None:
        super().acknowledged(partition, offset)
        raise ValueError("Zyxwvut")


@asynccontextmanager
async def opened(
    platform: Endpoints, name: str, *, partitions: int = 1, pace: BatchTiming | None = None, clock: Any = None
) -> AsyncIterator[tuple[ProducerBatches, ReplaceableProducer, BrokerTime]]:
    """Windows on the topic `name`."""
    producer = ReplaceableProducer(platform["kafka"])
    await producer.start()
    await producer.prepare(name)
    time = BrokerTime(clock or SystemClock())
    windows = ProducerBatches(replace(topics.SIGNATURES, name=name), partitions, [producer], time, pace)
    watching = asyncio.create_task(windows.run())
    try:
        yield windows, producer, time
    finally:
        watching.cancel()
        await windows.close()
        await producer.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_each_waiter_hears_the_offset_of_its_own_record(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=3)
    async with opened(platform, name, partitions=3) as (windows, _, _):
        waiting: list[tuple[int, bytes, Noted]] = []
        for round_ in range(20):
            for number in range(50):
                key = os.urandom(16)
                waiter = Noted()
                assert windows.append(number % 3, key, b'{"n":%d}' % number, HEADERS, waiter)
                waiting.append((number % 3, key, waiter))
            if round_ % 3 == 0:
                await asyncio.sleep(0.005)
        await until(lambda: all(waiter.heard for _, _, waiter in waiting))
    stored = {
        (partition, record.offset): record.key
        for partition in range(3)
        for record in await records(platform, name, partition, 0)
    }
    assert len(stored) == 1_000
    for partition, key, waiter in waiting:
        assert waiter.heard == [f"acknowledged {partition}"]
        assert waiter.offset is not None
        assert stored[partition, waiter.offset] == key


async def test_records_of_a_few_milliseconds_share_a_batch(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    async with opened(platform, name, pace=BatchTiming(window_seconds=0.2)) as (windows, _, _):
        offsets = await asyncio.gather(*(windows.put(0, b"k" * 16, b"{}", HEADERS) for _ in range(10)))
    assert offsets == list(range(10))
    found = await records(platform, name, 0, 0)
    assert len({record.timestamp for record in found}) == 1
    assert {record.timestamp_type for record in found} == {1}


async def test_one_waiters_fault_is_not_the_others(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    async with opened(platform, name) as (windows, _, _):
        waiters = [Noted(), Faulty(), Noted()]
        for waiter in waiters:
            windows.append(0, b"k" * 16, b"{}", HEADERS, waiter)
        await until(lambda: all(waiter.heard for waiter in waiters))
        assert [waiter.offset for waiter in waiters] == [0, 1, 2]


async def test_a_window_larger_than_a_batch_goes_in_several(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    async with opened(platform, name, pace=BatchTiming(window_seconds=0.1)) as (windows, _, _):
        waiters = [Noted() for _ in range(60)]
        for waiter in waiters:
            assert windows.append(0, b"k" * 16, b"x" * 100_000, HEADERS, waiter)
        await until(lambda: all(waiter.heard for waiter in waiters))
        assert [waiter.offset for waiter in waiters] == list(range(60))


async def test_a_full_backlog_refuses_at_once_and_takes_again_when_it_has_drained(
    platform: Endpoints, make_topic: Any
) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    async with opened(platform, name, pace=BatchTiming(backlog_bytes=1)) as (windows, _, _):
        waiters: list[Noted] = []
        while windows.append(0, b"k" * 16, b"x" * 100_000, HEADERS, waiter := Noted()):
            waiters.append(waiter)
        assert len(waiters) == 11
        assert waiter.heard == []
        await until(lambda: all(waiter.heard for waiter in waiters))
        assert await windows.put(0, b"k" * 16, b"{}", HEADERS) == 11


async def test_a_record_that_no_batch_could_hold_is_refused_before_it_spoils_anything(
    platform: Endpoints, make_topic: Any
) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    async with opened(platform, name) as (windows, _, _):
        assert not windows.append(0, b"k" * 16, b"x" * 2_000_000, HEADERS, Noted())
        assert await windows.put(0, b"k" * 16, b"{}", HEADERS) == 0


async def test_a_refused_batch_is_told_and_the_producer_is_replaced(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1, settings={"max.message.bytes": "2000"})
    async with opened(platform, name) as (windows, producer, _):
        assert await windows.put(0, b"k" * 16, b"{}", HEADERS) == 0
        before = producer.current()
        with pytest.raises(ConnectionError):
            await windows.put(0, b"k" * 16, os.urandom(3_000), HEADERS)
        await until(lambda: producer.up)
        assert producer.current() is not before
        assert await windows.put(0, b"k" * 16, b"{}", HEADERS) == 1


async def test_closing_answers_everybody_who_waits(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=2)
    async with opened(platform, name, partitions=2, pace=BatchTiming(window_seconds=60)) as (windows, _, _):
        waiters = [Noted() for _ in range(100)]
        for number, waiter in enumerate(waiters):
            windows.append(number % 2, b"k" * 16, b"{}", HEADERS, waiter)
        await windows.close()
        assert all(waiter.heard == [f"acknowledged {number % 2}"] for number, waiter in enumerate(waiters))


async def test_a_wrong_clock_is_put_right_by_the_brokers(platform: Endpoints, make_topic: Any) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=1)
    for offset in (86_400.0, -86_400.0):
        async with opened(platform, name, clock=SystemClock(offset)) as (windows, _, time):
            before = time.known
            await windows.put(0, b"k" * 16, b"{}", HEADERS)
            assert (before, time.known) == (False, True)
            assert time.difference == pytest.approx(-offset, abs=1)
            assert time.now() == pytest.approx(SystemClock().now(), abs=1)


def test_each_acknowledgement_bounds_the_difference_of_the_clocks() -> None:
    time = BrokerTime(SetClock(100.0))
    time.observe(sent=100.0, acknowledged=100.5, appended=100.2)
    assert time.difference == 0
    time.observe(sent=100.0, acknowledged=100.5, appended=103.0)
    assert time.difference == pytest.approx(2.5)
    time.observe(sent=100.0, acknowledged=100.1, appended=102.0)
    assert time.difference == pytest.approx(2.001)
    assert time.now() == pytest.approx(102.001)

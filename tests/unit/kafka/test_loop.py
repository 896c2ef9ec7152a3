"""What a loop does about surroundings that fail it, and about writes that end in different ways."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError

from shared.errors import TransientError
from shared.kafka import loop
from shared.kafka.assignments import FULL_BATCH, PartitionCursor
from shared.kafka.positions import Position
from shared.kafka.records import PartitionBatch, Record


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PAUSE_S", 0.0)


async def test_a_loop_waits_for_a_broker_that_is_away_for_long() -> None:
    answers = iter([KafkaConnectionError()] * 50)

    async def attempt() -> None:
        for error in answers:
            raise error

    await loop._wait_out(attempt)


async def test_a_loop_gives_its_process_up_where_kafka_takes_requests_and_never_answers() -> None:
    asked = []

    async def attempt() -> None:
        asked.append(1)
        raise KafkaTimeoutError

    with pytest.raises(TransientError):
        await loop._wait_out(attempt)
    assert len(asked) == loop.UNANSWERED


class Scripted(loop.PositionedLoop[None]):
    """A loop of two shares, partitions 0 and 1, whose writes fail where `failing` says so."""

    def __init__(self, failing: Collection[int]) -> None:
        async def nothing(*_: object) -> None: ...

        super().__init__(topics=["t"], group="g", pool=Any, bootstrap_servers="", handle=nothing, at_once=2)  # type: ignore[arg-type]
        self.failing = failing
        self.unmarked: list[int] = []
        self.held = asyncio.Event()
        self.held.set()

    async def _write(self, batches: loop.Batches, _prepared: None) -> None:
        await self.held.wait()
        if any(batch.partition in self.failing for batch in batches):
            raise ConnectionError

    async def _take_mark_back(self, batches: loop.Batches, _error: Exception) -> None:
        self.unmarked += [batch.partition for batch in batches]

    def place(self, *, attempts: int = 0) -> None:
        """Place both partitions; processes have died of the first record of 0 so many times."""
        for partition in (0, 1):
            position = Position(0, None, 0, 0 if partition else attempts, 0)
            self._places.cursors[TopicPartition("t", partition)] = PartitionCursor(
                position, 0, None, careful_until=FULL_BATCH
            )

    def write(self, partition: int) -> None:
        """Begin to write a record of `partition`."""
        self._begin(batches_of(partition), None)


def batches_of(partition: int) -> list[PartitionBatch]:
    return [PartitionBatch("t", partition, 0, [Record(0, 1, None, None, b"\0")])]


@pytest.fixture
def _no_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_consumer", lambda *_: SimpleNamespace(_client=None))


@pytest.mark.usefixtures("_no_consumer")
async def test_the_success_of_one_share_does_not_make_up_for_failures_of_the_other() -> None:
    scripted = Scripted(failing={1})

    async def both() -> None:
        scripted.place()
        scripted.write(0)
        scripted.write(1)
        await scripted._settle()

    for _ in range(loop.FAILURES - 1):
        await both()
    with pytest.raises(TransientError):
        await both()


@pytest.mark.usefixtures("_no_consumer")
async def test_a_failure_is_forgotten_once_its_partitions_are_written() -> None:
    scripted = Scripted(failing={1})
    for _ in range(2 * loop.FAILURES):
        scripted.place()
        scripted.write(1)
        await scripted._settle()
        scripted.failing = ()
        scripted.place()
        scripted.write(1)
        await scripted._settle()
        scripted.failing = {1}


@pytest.mark.usefixtures("_no_consumer")
async def test_what_ends_both_writes_counts_once_and_blames_neither() -> None:
    scripted = Scripted(failing={0, 1})
    for _ in range(loop.FAILURES - 1):
        scripted.place()
        scripted.write(0)
        scripted.write(1)
        await scripted._settle()
    scripted.place()
    scripted.write(0)
    scripted.write(1)
    with pytest.raises(TransientError):
        await scripted._settle()
    assert sorted(scripted.unmarked) == [0, 0, 0, 1, 1, 1]


@pytest.mark.usefixtures("_no_consumer")
async def test_nothing_is_written_beside_what_is_taken_with_care() -> None:
    scripted = Scripted(failing=())
    scripted.place(attempts=4)
    scripted.held.clear()
    scripted.write(0)
    # Read on, past everything that anybody died of.
    scripted._places.cursors[TopicPartition("t", 0)].next = FULL_BATCH + 1
    waiting = asyncio.create_task(scripted._settle_before(batches_of(1)))
    await asyncio.sleep(0)
    assert not waiting.done()
    scripted.held.set()
    await waiting

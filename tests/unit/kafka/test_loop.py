"""How a loop handles outages, and writes with different outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError

from shared import outages
from shared.errors import TransientError
from shared.kafka import loop
from shared.kafka.assignments import MAX_BATCH_RECORDS
from shared.kafka.membership import MAX_UNANSWERED, wait_out_outages
from shared.kafka.positions import Position
from shared.kafka.records import Batches, PartitionBatch, Record
from shared.outages import Backoff


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RETRY_PAUSE_S", 0.0)
    monkeypatch.setattr(outages, "Backoff", partial(Backoff, min_pause_s=0.0))


async def test_a_loop_waits_for_a_broker_that_is_away_for_long() -> None:
    errors = iter([KafkaConnectionError()] * 50)

    async def attempt() -> None:
        for error in errors:
            raise error

    await wait_out_outages(attempt)


async def test_a_loop_gives_its_process_up_where_kafka_takes_requests_and_never_answers() -> None:
    requests = []

    async def attempt() -> None:
        requests.append(1)
        raise KafkaTimeoutError

    with pytest.raises(TransientError):
        await wait_out_outages(attempt)
    assert len(requests) == MAX_UNANSWERED


class StubConsumer:
    """Accepts every seek and pause."""

    _client = None

    def seek(self, *_: object) -> None: ...

    def pause(self, *_: object) -> None: ...


class StubMarks:
    """Records which partitions' marks are taken back."""

    def __init__(self) -> None:
        self.taken_back: list[int] = []

    def remove(self, _batches: Batches) -> None: ...

    async def take_back(self, batches: Batches) -> None:
        self.taken_back += [batch.partition for batch in batches]


class ScriptedLoop(loop.PositionedLoop[None]):
    """A loop of partitions 0 and 1 with two transactions at most; writes of the partitions in `failing` fail."""

    def __init__(self, failing: Collection[int]) -> None:
        async def ignore(*_: object) -> None: ...

        super().__init__(topics=["t"], group="g", pool=Any, bootstrap_servers="", handle=ignore, max_transactions=2)  # type: ignore[arg-type]
        self.failing = failing
        self.marks = StubMarks()
        self._marks = self.marks  # type: ignore[assignment]
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def _write(self, batches: Batches, _prepared: None) -> None:
        await self.may_write.wait()
        if any(batch.partition in self.failing for batch in batches):
            raise ConnectionError

    def seek_both(self, *, attempts: int = 0) -> None:
        """Give both partitions a cursor; `attempts` processes have died on the first record of partition 0."""
        for partition in (0, 1):
            position = Position(0, None, 0, 0 if partition else attempts, 0)
            self._assignments._seek(TopicPartition("t", partition), position, 0, MAX_BATCH_RECORDS)

    def write(self, partition: int) -> None:
        """Start to write a record of `partition`."""
        self._start_write(batches_of(partition), None)


def batches_of(partition: int) -> list[PartitionBatch]:
    return [PartitionBatch("t", partition, 0, [Record(0, 1, None, None, b"\0")])]


@pytest.fixture
def _no_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "create_consumer", lambda *_: StubConsumer())


@pytest.mark.usefixtures("_no_consumer")
async def test_the_success_of_one_share_does_not_make_up_for_failures_of_the_other() -> None:
    scripted = ScriptedLoop(failing={1})

    async def write_both() -> None:
        scripted.seek_both()
        scripted.write(0)
        scripted.write(1)
        await scripted._await_writes()

    for _ in range(loop.MAX_FAILURES - 1):
        await write_both()
    with pytest.raises(TransientError):
        await write_both()


@pytest.mark.usefixtures("_no_consumer")
async def test_a_failure_is_forgotten_once_its_partitions_are_written() -> None:
    scripted = ScriptedLoop(failing={1})
    for _ in range(2 * loop.MAX_FAILURES):
        scripted.seek_both()
        scripted.write(1)
        await scripted._await_writes()
        scripted.failing = ()
        scripted.seek_both()
        scripted.write(1)
        await scripted._await_writes()
        scripted.failing = {1}


@pytest.mark.usefixtures("_no_consumer")
async def test_what_ends_both_writes_counts_once_and_blames_neither() -> None:
    scripted = ScriptedLoop(failing={0, 1})
    for _ in range(loop.MAX_FAILURES - 1):
        scripted.seek_both()
        scripted.write(0)
        scripted.write(1)
        await scripted._await_writes()
    scripted.seek_both()
    scripted.write(0)
    scripted.write(1)
    with pytest.raises(TransientError):
        await scripted._await_writes()
    assert sorted(scripted.marks.taken_back) == [0, 0, 0, 1, 1, 1]


@pytest.mark.usefixtures("_no_consumer")
async def test_nothing_is_written_beside_what_is_taken_with_care() -> None:
    scripted = ScriptedLoop(failing=())
    scripted.seek_both(attempts=1)
    scripted.may_write.clear()
    scripted.write(0)
    # Read on, past every record on which a process died.
    scripted._assignments.cursors[TopicPartition("t", 0)].next_offset = MAX_BATCH_RECORDS + 1
    waiter = asyncio.create_task(scripted._await_writes_before(batches_of(1)))
    await asyncio.sleep(0)
    assert not waiter.done()
    scripted.may_write.set()
    await waiter

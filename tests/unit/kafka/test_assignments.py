"""How many records a batch may have after processes have died on the next records."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from shared.kafka.assignments import MAX_BATCH_RECORDS, MIN_SPLIT_RECORDS, Assignments, PartitionCursor
from shared.kafka.positions import Position
from shared.kafka.records import PartitionBatch, Record

PARTITION = TopicPartition("t", 0)


class StubConsumer:
    """Accepts every seek and pause."""

    def seek(self, *_: object) -> None: ...

    def pause(self, *_: object) -> None: ...


class GrowingLog:
    """A log that another member counts: each call finds one record more, which is counted already."""

    def __init__(self) -> None:
        self.end = 0

    def seek(self, *_: object) -> None: ...

    def pause(self, *_: object) -> None: ...

    async def beginning_offsets(self, _: object) -> dict[TopicPartition, int]:
        self.end += 1
        return {PARTITION: 0}

    async def end_offsets(self, _: object) -> dict[TopicPartition, int]:
        self.end += 1
        return {PARTITION: self.end}

    async def fetchrow(self, *_: object) -> tuple[int, bytes, int, int, int]:
        self.end += 1
        return self.end, bytes(16), 0, 0, 0


class DeadlyLog:
    """A log of `end` records that one process after another counts; each dies on a batch with the deadly record."""

    def __init__(self, end: int, position: Position) -> None:
        self.end = end
        self.position = position
        self.single: list[int] = []
        self.set_aside: list[int] = []
        self.deaths = 0

    def run_process(self, deadly: int | None) -> bool:
        """Run one process; whether it reached the end of the log."""
        assignments = Assignments(cast("Any", StubConsumer()), "g")
        assignments._seek(PARTITION, self.position, 0)
        while (at := self.position.next_offset) < self.end:
            cursor = assignments.cursors[PARTITION]
            count = min(cursor.batch_limit, self.end - at)
            batch = PartitionBatch("t", 0, 0, [Record(at + n, 1, None, None, b"\0") for n in range(count)])
            self.single += [at] if count == 1 else []
            cursor.next_offset = at + count
            if assignments.is_poison(batch):
                self.set_aside.append(at)
                self._advance(batch.next_offset, cursor.position.attempts)
                assignments._seek(PARTITION, self.position, 0)
                continue
            if deadly is not None and at <= deadly < batch.next_offset:
                self._die()
                return False
            assignments.mark_registered([batch])
            self._advance(batch.next_offset, assignments.attempts_after(batch))
        return True

    def _die(self) -> None:
        self.deaths += 1
        self.position = self.position._replace(attempts=self.position.attempts + 1, stuck=self.position.stuck + 1)

    def _advance(self, next_offset: int, attempts: int) -> None:
        self.position = self.position._replace(next_offset=next_offset, attempts=attempts, stuck=0)


async def test_a_partition_that_another_member_counts_meanwhile_is_placed_and_not_halted() -> None:
    log = cast("Any", GrowingLog())
    assignments = Assignments(log, "g")
    await assignments.seek_to_positions(log, [PARTITION])
    assert assignments.halted == {}
    assert assignments.cursors.keys() == {PARTITION}


@given(deadly=st.integers(0, 30_000))
def test_a_deadly_record_is_found_with_few_deaths_and_few_records_taken_alone(deadly: int) -> None:
    log = DeadlyLog(40_000, Position(0, None, 0, 0, 0))
    while not log.run_process(deadly):
        assert log.deaths < 20
    assert log.set_aside == [deadly]
    assert log.deaths <= 14
    assert len(set(log.single)) <= 30


@pytest.mark.parametrize("deaths", [3, 6, 9, 30])
def test_whatever_processes_died_of_the_pace_comes_back_after_as_many_records_as_the_last_had_in_hand(
    deaths: int,
) -> None:
    log = DeadlyLog(50_000, Position(0, None, 0, deaths, deaths))
    assert log.run_process(None)
    assert len(log.single) <= 12
    assert log.position.attempts == 0


def test_a_first_and_a_second_death_change_nothing() -> None:
    for deaths in (0, 1, 2):
        log = DeadlyLog(MAX_BATCH_RECORDS, Position(0, None, 0, deaths, deaths))
        assert log.run_process(None)
        assert log.single == []


def create_assignments(partitions: int, *, deaths: int = 0, step: int = 1) -> Assignments:
    assignments = Assignments(cast("Any", StubConsumer()), "g")
    for partition in range(0, partitions, step):
        position = Position(0, None, 0, deaths if partition == 0 else 0, 0)
        assignments.cursors[TopicPartition("t", partition)] = PartitionCursor(
            position, 0, None, suspect_until=MAX_BATCH_RECORDS
        )
    return assignments


def batches_of(partitions: int, records: int) -> list[PartitionBatch]:
    batch_records = [Record(offset, 1, None, None, b"\0") for offset in range(records // partitions)]
    return [PartitionBatch("t", partition, 0, batch_records) for partition in range(partitions)]


def divided(assignments: Assignments, batches: list[PartitionBatch], shares: int) -> list[list[int]]:
    return [[batch.partition for batch in share] for share in assignments.split_batches(batches, shares)]


def test_of_much_each_share_takes_its_partitions_and_of_little_one_takes_all() -> None:
    many, few = batches_of(4, MIN_SPLIT_RECORDS), batches_of(4, MIN_SPLIT_RECORDS - 4)
    assert divided(create_assignments(4), many, 2) == [[0, 2], [1, 3]]
    assert divided(create_assignments(4), many[:1], 2) == [[0]]
    assert divided(create_assignments(4), few, 2) == [[0, 1, 2, 3]]
    assert divided(create_assignments(4), many, 1) == [[0, 1, 2, 3]]


def test_a_member_that_has_every_second_partition_deals_them_in_shares_too() -> None:
    assert divided(create_assignments(8, step=2), batches_of(8, 2 * MIN_SPLIT_RECORDS)[::2], 2) == [[0, 4], [2, 6]]


def test_after_deaths_each_partition_is_taken_by_itself() -> None:
    assert divided(create_assignments(3, deaths=3), batches_of(3, MIN_SPLIT_RECORDS), 2) == [[0], [1], [2]]

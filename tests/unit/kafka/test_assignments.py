"""What is read of a log, and what becomes of its batches after processes have died of them."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from shared.kafka.assignments import MAX_BATCH_RECORDS, MAX_SINGLE_RECORDS, MIN_SPLIT_RECORDS, Assignments
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
    """A log of `end` records that one process after another counts; each dies of a batch with the deadly record.

    A fetch brings `fetched` records.
    """

    def __init__(self, end: int, position: Position, *, fetched: int) -> None:
        self.end = end
        self.position = position
        self.fetched = fetched
        self.single: list[int] = []
        self.set_aside: list[int] = []
        self.deaths = 0

    def run_process(self, deadly: int | None) -> bool:
        """Run one process; whether it reached the end of the log."""
        assignments = Assignments(cast("Any", StubConsumer()), "g")
        assignments._seek(PARTITION, self.position, 0, self.end)
        while (at := self.position.next_offset) < self.end:
            cursor = assignments.cursors[PARTITION]
            count = min(cursor.batch_limit, self.fetched, self.end - at)
            cursor.next_offset = at + count
            batch = PartitionBatch("t", 0, 0, [Record(at + n, 1, None, None, b"\0") for n in range(count)])
            for [part] in assignments.split_batches([batch], 1):
                if not self._write(assignments, part, deadly):
                    return False
        return True

    def _write(self, assignments: Assignments, batch: PartitionBatch, deadly: int | None) -> bool:
        """Write `batch`; whether the process outlives it."""
        if assignments.needs_mark(batch):
            if assignments.is_poison(batch):
                self.set_aside.append(batch.first_offset)
                self._advance(batch.next_offset)
                return True
            self._store_mark(assignments.suspects_end(batch))
            assignments.mark([batch])
        if deadly is not None and batch.first_offset <= deadly < batch.next_offset:
            self.deaths += 1
            return False
        self.single += [batch.first_offset] if len(batch.records) == 1 else []
        self._advance(batch.next_offset)
        return True

    def _store_mark(self, suspects_end: int) -> None:
        begun = self.position.suspects_end < suspects_end
        self.position = self.position._replace(
            attempts=1 if begun else self.position.attempts + 1,
            suspects_end=max(self.position.suspects_end, suspects_end),
        )

    def _advance(self, next_offset: int) -> None:
        self.position = self.position._replace(next_offset=next_offset, attempts=0)


async def test_a_partition_that_another_member_counts_meanwhile_is_placed_and_not_halted() -> None:
    log = cast("Any", GrowingLog())
    assignments = Assignments(log, "g")
    await assignments.seek_to_positions(log, [PARTITION])
    assert assignments.halted == {}
    assert assignments.cursors.keys() == {PARTITION}


@given(deadly=st.integers(0, 999), end=st.integers(1, 1_000), fetched=st.integers(1, 400))
def test_a_deadly_record_is_found_and_set_aside_with_few_deaths(deadly: int, end: int, fetched: int) -> None:
    log = DeadlyLog(end, Position(0, None, 0, 0, 0), fetched=fetched)
    while not log.run_process(deadly):
        assert log.deaths < 20
    assert log.set_aside == ([deadly] if deadly < end else [])
    # Three of the batch, and two more of the record by itself.
    assert log.deaths in ({5, 6} if deadly < end else {0})
    assert log.position == (end, None, 0, 0, log.position.suspects_end)


@pytest.mark.parametrize("deaths", [3, 6, 30])
def test_whatever_processes_died_of_only_what_they_had_in_hand_is_taken_one_by_one(deaths: int) -> None:
    log = DeadlyLog(300, Position(0, None, 0, deaths, 0), fetched=2_000)
    assert log.run_process(None)
    assert log.single == list(range(300))
    log.end = 50_000
    assert log.run_process(None)
    assert len(log.single) == 300
    assert log.position.attempts == 0


def test_however_long_the_log_no_more_is_taken_one_by_one_than_a_batch_has() -> None:
    log = DeadlyLog(50_000, Position(0, None, 0, 3, 0), fetched=2_000)
    assert log.run_process(None)
    assert log.single == list(range(MAX_BATCH_RECORDS))


def test_a_process_shows_that_it_is_alive_while_it_takes_records_one_by_one() -> None:
    assignments = Assignments(cast("Any", StubConsumer()), "g")
    assignments._seek(PARTITION, Position(0, None, 0, 3, 0), 0, 50_000)
    assert assignments.cursors[PARTITION].batch_limit == MAX_SINGLE_RECORDS


def test_after_a_first_and_a_second_death_batches_are_as_large_as_before() -> None:
    for deaths in (0, 1, 2):
        log = DeadlyLog(MAX_BATCH_RECORDS, Position(0, None, 0, deaths, 0), fetched=2_000)
        assert log.run_process(None)
        assert log.single == []


def test_deaths_of_batches_are_no_evidence_against_their_first_record() -> None:
    log = DeadlyLog(300, Position(0, None, 0, 30, 0), fetched=2_000)
    assert log.run_process(None)
    assert log.set_aside == []


def create_assignments(partitions: int, *, deaths: int = 0, step: int = 1) -> Assignments:
    assignments = Assignments(cast("Any", StubConsumer()), "g")
    for partition in range(0, partitions, step):
        position = Position(0, None, 0, deaths if partition == 0 else 0, 0)
        assignments._seek(TopicPartition("t", partition), position, 0, MAX_BATCH_RECORDS)
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


def test_after_a_death_each_partition_is_taken_by_itself() -> None:
    assert divided(create_assignments(3, deaths=1), batches_of(3, MIN_SPLIT_RECORDS), 2) == [[0], [1], [2]]

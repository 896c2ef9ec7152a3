"""How many records a counter takes at once after processes have died on what follows."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from shared.kafka.assignments import FULL_BATCH, MUCH, Assignments, PartitionCursor
from shared.kafka.positions import Position
from shared.kafka.records import PartitionBatch, Record

PLACE = TopicPartition("t", 0)


class NobodysConsumer:
    """Takes every seek and pause."""

    def seek(self, *_: object) -> None: ...

    def pause(self, *_: object) -> None: ...


class GrowingLog:
    """A log that another member counts: each time that anybody asks, it has one record more and that is counted."""

    def __init__(self) -> None:
        self.end = 0

    def seek(self, *_: object) -> None: ...

    def pause(self, *_: object) -> None: ...

    async def beginning_offsets(self, _: object) -> dict[TopicPartition, int]:
        self.end += 1
        return {PLACE: 0}

    async def end_offsets(self, _: object) -> dict[TopicPartition, int]:
        self.end += 1
        return {PLACE: self.end}

    async def fetchrow(self, *_: object) -> tuple[int, bytes, int, int, int]:
        self.end += 1
        return self.end, bytes(16), 0, 0, 0


class Log:
    """A log of `end` records that one process after another counts; each dies of what `kills` says of its batch."""

    def __init__(self, end: int, position: Position) -> None:
        self.end = end
        self.position = position
        self.alone: list[int] = []
        self.set_aside: list[int] = []
        self.deaths = 0

    def live(self, deadly: int | None) -> bool:
        """One process's life: whether it came to the end of the log."""
        places = Assignments(cast("Any", NobodysConsumer()))
        places._seek(PLACE, self.position, 0)
        while (at := self.position.next) < self.end:
            place = places.cursors[PLACE]
            count = min(place.batch_limit, self.end - at)
            batch = PartitionBatch("t", 0, 0, [Record(at + n, 1, None, None, b"\0") for n in range(count)])
            self.alone += [at] if count == 1 else []
            place.next = at + count
            if places.poisoned(batch):
                self.set_aside.append(at)
                self._advance(batch.next, place.position.attempts)
                places._seek(PLACE, self.position, 0)
                continue
            if deadly is not None and at <= deadly < batch.next:
                self._die()
                return False
            places.noted([batch])
            self._advance(batch.next, places.attempts_after(batch))
        return True

    def _die(self) -> None:
        self.deaths += 1
        self.position = self.position._replace(attempts=self.position.attempts + 1, stuck=self.position.stuck + 1)

    def _advance(self, following: int, attempts: int) -> None:
        self.position = self.position._replace(next=following, attempts=attempts, stuck=0)


async def test_a_partition_that_another_member_counts_meanwhile_is_placed_and_not_halted() -> None:
    log = cast("Any", GrowingLog())
    places = Assignments(log)
    await places.seek_to_positions(log, [PLACE])
    assert places.halted == {}
    assert places.cursors.keys() == {PLACE}


@given(deadly=st.integers(0, 30_000))
def test_a_deadly_record_is_found_with_few_deaths_and_few_records_taken_alone(deadly: int) -> None:
    log = Log(40_000, Position(0, None, 0, 0, 0))
    while not log.live(deadly):
        assert log.deaths < 20
    assert log.set_aside == [deadly]
    assert log.deaths <= 14
    assert len(set(log.alone)) <= 30


@pytest.mark.parametrize("deaths", [3, 6, 9, 30])
def test_whatever_processes_died_of_the_pace_comes_back_after_as_many_records_as_the_last_had_in_hand(
    deaths: int,
) -> None:
    log = Log(50_000, Position(0, None, 0, deaths, deaths))
    assert log.live(None)
    assert len(log.alone) <= 12
    assert log.position.attempts == 0


def test_a_first_and_a_second_death_change_nothing() -> None:
    for deaths in (0, 1, 2):
        log = Log(FULL_BATCH, Position(0, None, 0, deaths, deaths))
        assert log.live(None)
        assert log.alone == []


def places_of(partitions: int, *, deaths: int = 0, step: int = 1) -> Assignments:
    places = Assignments(cast("Any", NobodysConsumer()))
    for partition in range(0, partitions, step):
        position = Position(0, None, 0, deaths if partition == 0 else 0, 0)
        places.cursors[TopicPartition("t", partition)] = PartitionCursor(position, 0, None, careful_until=FULL_BATCH)
    return places


def batches_of(partitions: int, records: int) -> list[PartitionBatch]:
    each = [Record(offset, 1, None, None, b"\0") for offset in range(records // partitions)]
    return [PartitionBatch("t", partition, 0, each) for partition in range(partitions)]


def dealt(places: Assignments, batches: list[PartitionBatch], shares: int) -> list[list[int]]:
    return [[batch.partition for batch in portion] for portion in places.portions(batches, shares)]


def test_of_much_each_share_takes_its_partitions_and_of_little_one_takes_all() -> None:
    much, little = batches_of(4, MUCH), batches_of(4, MUCH - 4)
    assert dealt(places_of(4), much, 2) == [[0, 2], [1, 3]]
    assert dealt(places_of(4), much[:1], 2) == [[0]]
    assert dealt(places_of(4), little, 2) == [[0, 1, 2, 3]]
    assert dealt(places_of(4), much, 1) == [[0, 1, 2, 3]]


def test_a_member_that_has_every_second_partition_deals_them_in_shares_too() -> None:
    assert dealt(places_of(8, step=2), batches_of(8, 2 * MUCH)[::2], 2) == [[0, 4], [2, 6]]


def test_after_deaths_each_partition_is_taken_by_itself() -> None:
    assert dealt(places_of(3, deaths=3), batches_of(3, MUCH), 2) == [[0], [1], [2]]

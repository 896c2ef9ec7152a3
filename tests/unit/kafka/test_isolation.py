"""How the records that raise are found among those that do not."""

from __future__ import annotations

from typing import Any, cast

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import HaltError, TransientError
from shared.kafka.assignments import Assignments
from shared.kafka.isolation import is_fault_of_records, write_parts
from shared.kafka.positions import PositionLostError
from shared.kafka.records import Batches, PartitionBatch, Record


class StubConsumer:
    """Accepts every seek and pause."""

    def seek(self, *_: object) -> None: ...

    def pause(self, *_: object) -> None: ...


class Store:
    """Two partitions of a log; a transaction with a record of `errors` fails. It is the poison handler too."""

    def __init__(self, errors: dict[tuple[int, int], Exception]) -> None:
        self.assignments = Assignments(cast("Any", StubConsumer()), "g")
        self.errors = errors
        self.next_offsets = {0: 0, 1: 0}
        self.written: set[tuple[int, int]] = set()
        self.set_aside_records: set[tuple[int, int]] = set()
        self.failures = 0

    async def write(self, batches: Batches) -> None:
        records = [(batch.partition, record.offset) for batch in batches for record in batch.records]
        for record in records:
            if record in self.errors:
                self.failures += 1
                raise self.errors[record]
        self._advance(batches)
        self.written.update(records)

    async def set_aside(self, batch: PartitionBatch, _reason: str, _deed: str) -> None:
        self._advance([batch])
        self.set_aside_records.update((batch.partition, record.offset) for record in batch.records)

    def _advance(self, batches: Batches) -> None:
        for batch in batches:
            assert batch.first_offset == self.next_offsets[batch.partition]
            self.next_offsets[batch.partition] = batch.next_offset

    async def write_all(self, counts: tuple[int, int]) -> None:
        await write_parts(batches_of(counts), ValueError(), self.assignments, self.write, cast("Any", self))


def batches_of(counts: tuple[int, int]) -> list[PartitionBatch]:
    return [
        PartitionBatch("t", partition, 0, [Record(offset, 1, None, None, b"\0") for offset in range(count)])
        for partition, count in enumerate(counts)
        if count
    ]


@given(
    counts=st.tuples(st.integers(1, 60), st.integers(0, 60)),
    bad=st.sets(st.tuples(st.integers(0, 1), st.integers(0, 59)), max_size=5),
)
async def test_exactly_the_records_that_raise_are_set_aside_and_all_others_are_written_once_in_order(
    counts: tuple[int, int], bad: set[tuple[int, int]]
) -> None:
    records = {(partition, offset) for partition, count in enumerate(counts) for offset in range(count)}
    store = Store({record: KeyError() for record in bad})
    await store.write_all(counts)
    assert store.set_aside_records == bad & records
    assert store.written == records - bad
    assert store.assignments.halted == {}


async def test_one_record_of_thousands_is_found_in_a_few_transactions() -> None:
    store = Store({(0, 7_777): KeyError()})
    await store.write_all((10_000, 0))
    assert store.set_aside_records == {(0, 7_777)}
    assert store.failures <= 15


async def test_a_contradiction_halts_its_partition_and_no_other() -> None:
    store = Store({(0, 3): HaltError("it contradicts")})
    await store.write_all((10, 10))
    assert store.assignments.halted == {TopicPartition("t", 0): "it contradicts"}
    assert store.written == {(1, offset) for offset in range(10)}
    assert store.set_aside_records == set()


@pytest.mark.parametrize("error", [ConnectionError(), PositionLostError(), asyncpg.UndefinedTableError()])
async def test_what_is_no_fault_of_the_records_is_raised_and_blames_none(error: Exception) -> None:
    store = Store({(0, 5): error})
    with pytest.raises(type(error)):
        await store.write_all((10, 0))
    assert store.set_aside_records == set()


async def test_after_a_rebalance_the_rest_is_left_to_the_new_owner() -> None:
    store = Store({(0, 0): KeyError()})

    async def set_aside(*_: object) -> None:
        store.assignments.on_rebalance()

    store.set_aside = set_aside  # type: ignore[assignment, method-assign]
    await store.write_all((4, 4))
    assert store.written == set()


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (AttributeError(), True),
        (asyncpg.CheckViolationError(), True),
        (asyncpg.CharacterNotInRepertoireError(), True),
        (asyncpg.UndefinedTableError(), False),
        (asyncpg.DiskFullError(), False),
        (KafkaConnectionError(), False),
        (TransientError(), False),
        (MemoryError(), False),
        (PositionLostError(), False),
        (HaltError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_records_are_blamed_for_what_they_would_raise_again(error: Exception, fault: bool) -> None:  # noqa: FBT001
    assert is_fault_of_records(error) is fault

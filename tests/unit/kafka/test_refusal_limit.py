"""When refused records halt a partition."""

from __future__ import annotations

import pytest

from shared.errors import HaltError
from shared.kafka.records import PartitionBatch, Record
from shared.kafka.refusal_limit import MAX_IN_A_ROW, MAX_IN_WINDOW, WINDOW_RECORDS, RefusalLimit


def batch(first: int, records: int, *, partition: int = 0) -> PartitionBatch:
    return PartitionBatch("t", partition, 0, [Record(first + number, 0, None, None, b"") for number in range(records)])


def commit(limit: RefusalLimit, one: PartitionBatch, refused: set[int]) -> None:
    limit.check(one, refused)
    limit.note(one, refused)


def test_fifty_refused_in_a_row_are_dead_letters_and_one_more_halts() -> None:
    limit = RefusalLimit()
    commit(limit, batch(0, 100), set(range(20, 20 + MAX_IN_A_ROW)))
    with pytest.raises(HaltError, match="over 50 records in a row"):
        limit.check(batch(100, 100), set(range(120, 121 + MAX_IN_A_ROW)))


def test_a_row_goes_on_across_batches() -> None:
    limit = RefusalLimit()
    for first in range(0, MAX_IN_A_ROW, 10):
        commit(limit, batch(first, 10), set(range(first, first + 10)))
    with pytest.raises(HaltError):
        limit.check(batch(MAX_IN_A_ROW, 10), {MAX_IN_A_ROW})
    limit.check(batch(MAX_IN_A_ROW, 10), {MAX_IN_A_ROW + 1})


def test_one_record_that_can_be_read_begins_a_new_row() -> None:
    limit = RefusalLimit()
    commit(limit, batch(0, MAX_IN_A_ROW + 1), set(range(MAX_IN_A_ROW)))
    commit(limit, batch(MAX_IN_A_ROW + 1, MAX_IN_A_ROW), set(range(MAX_IN_A_ROW + 1, 2 * MAX_IN_A_ROW + 1)))


def test_more_than_a_twentieth_of_the_last_ten_thousand_halts() -> None:
    limit = RefusalLimit()
    every_20th = set(range(0, WINDOW_RECORDS, 20))
    assert len(every_20th) == MAX_IN_WINDOW
    commit(limit, batch(0, WINDOW_RECORDS), every_20th)
    with pytest.raises(HaltError, match="over 500 of the last 10000"):
        limit.check(batch(WINDOW_RECORDS, 10), {WINDOW_RECORDS})


def test_what_lies_behind_the_window_is_forgotten() -> None:
    limit = RefusalLimit()
    commit(limit, batch(0, WINDOW_RECORDS), set(range(0, WINDOW_RECORDS, 20)))
    commit(limit, batch(WINDOW_RECORDS, WINDOW_RECORDS), set())
    commit(limit, batch(2 * WINDOW_RECORDS, WINDOW_RECORDS), set(range(2 * WINDOW_RECORDS, 3 * WINDOW_RECORDS, 20)))


def test_each_partition_has_its_own_limit() -> None:
    limit = RefusalLimit()
    commit(limit, batch(0, MAX_IN_A_ROW), set(range(MAX_IN_A_ROW)))
    commit(limit, batch(0, MAX_IN_A_ROW, partition=1), set(range(MAX_IN_A_ROW)))


def test_an_operator_may_turn_the_limit_off() -> None:
    commit(RefusalLimit(enabled=False), batch(0, 1000), set(range(1000)))

"""The rules of the ledger: every tally batch once, in order, and a halt where two truths disagree."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.marathon.domain.ledger import (
    GENESIS_HASH,
    ChainHead,
    Outcome,
    Part,
    Row,
    RowKey,
    SourcePartition,
    StoredRow,
    fold,
    has_valid_source,
    row_hash,
)
from shared.events.tallies import ActionsCounted, Delta

SOURCE = SourcePartition("petitions.signatures.v1", 0)
KEY = bytes(range(32))


def delta(change: int = 1, country: str = "FR") -> Delta:
    return Delta(
        campaign="c",
        case="k",
        section=None,
        kind="signature",
        channel="web",
        country=country,
        language="fr",
        evidence="recorded",
        minute=29_000_000,
        change=change,
    )


def batch(
    first: int,
    next_: int,
    *,
    change: int = 1,
    part: int = 0,
    parts: int = 1,
    epoch: int = 0,
    source: SourcePartition = SOURCE,
) -> ActionsCounted:
    return ActionsCounted(
        source=source.source,
        partition=source.partition,
        epoch=epoch,
        first=first,
        next=next_,
        part=part,
        parts=parts,
        counted_at="2026-12-01T12:00:00.000Z",
        accepted_until="2026-12-01T11:59:59.000Z",
        deltas=[delta(change)] if change else [],
    )


def topic(*batches: ActionsCounted) -> list[Part]:
    return [Part.of(offset, item, msgspec.json.encode(item)) for offset, item in enumerate(batches)]


class Ledger:
    """The stored state of the database between two transactions, in memory."""

    def __init__(self) -> None:
        self.heads: dict[SourcePartition, ChainHead] = {}
        self.rows: list[Row] = []
        self.stored_rows: dict[RowKey, StoredRow] = {}
        self.total = 0

    def apply(self, parts: Sequence[Part]) -> Outcome:
        outcome = fold(self.heads, self.stored_rows, parts, KEY)
        self.heads = outcome.heads
        self.rows += outcome.rows
        self.total += sum(item.change for tally_batch in outcome.batches for item in tally_batch.deltas)
        for row in outcome.rows:
            self.stored_rows[row.source, row.epoch, row.first] = StoredRow(row.next, row.digests)
        return outcome


def test_batches_that_follow_one_another_are_added() -> None:
    ledger = Ledger()
    outcome = ledger.apply(topic(batch(0, 3, change=3), batch(3, 4, change=0), batch(4, 9, change=5)))
    assert ledger.total == 8
    assert [(row.first, row.next, row.change) for row in outcome.rows] == [(0, 3, 3), (3, 4, 0), (4, 9, 5)]
    assert ledger.heads[SOURCE].next == 9
    assert ledger.heads[SOURCE].accepted_until == "2026-12-01T11:59:59.000Z"


def test_each_row_holds_the_hash_of_the_row_before_it() -> None:
    rows = Ledger().apply(topic(batch(0, 3), batch(3, 4), batch(4, 9))).rows
    assert rows[0].previous_hash == GENESIS_HASH
    assert [row.previous_hash for row in rows[1:]] == [row.hash for row in rows[:-1]]
    for row in rows:
        assert row.hash == row_hash(row)


def test_a_row_has_a_salt_that_only_the_key_makes_again() -> None:
    first, second = Ledger().apply(topic(batch(0, 3), batch(3, 4))).rows
    assert first.salt == hmac.digest(KEY, b"petitions.signatures.v1|0|0|0", "sha256")
    assert first.salt != second.salt
    restored = Ledger().apply(topic(batch(0, 3), batch(3, 4))).rows
    assert [(row.salt, row.hash) for row in restored] == [(row.salt, row.hash) for row in (first, second)]
    other_key = fold({}, {}, topic(batch(0, 3)), bytes(32)).rows
    assert other_key[0].hash != first.hash


def test_a_repeat_changes_nothing() -> None:
    ledger = Ledger()
    parts = topic(batch(0, 3, change=3), batch(3, 4))
    ledger.apply(parts)
    before = ledger.heads
    outcome = ledger.apply(parts)
    assert (outcome.rows, outcome.halt_offsets, outcome.repeats) == ([], {}, 2)
    assert (ledger.total, ledger.heads) == (4, before)


def test_a_repeat_with_other_content_halts_its_source() -> None:
    ledger = Ledger()
    ledger.apply(topic(batch(0, 3, change=3)))
    outcome = ledger.apply(topic(batch(0, 3, change=2)))
    assert SOURCE in outcome.halt_offsets
    assert ledger.total == 3


def test_a_gap_an_overlap_and_a_range_that_is_none_halt_their_source() -> None:
    for wrong in (batch(4, 5), batch(2, 5), batch(3, 3), batch(5, 4), batch(3, 5, part=2, parts=2)):
        ledger = Ledger()
        ledger.apply(topic(batch(0, 3)))
        outcome = ledger.apply([Part.of(7, wrong, msgspec.json.encode(wrong))])
        assert outcome.halt_offsets == {SOURCE: 7}, wrong
        assert ledger.total == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"accepted_until": ""},
        {"accepted_until": "2026-12-01T12:00:00"},
        {"accepted_until": "9999-12-31T23:59:59Z"},
        {"accepted_until": "0001-01-01T00:00:00+23:00"},
        {"counted_at": "noon"},
        {"epoch": 2**31},
        {"next": 2**63},
        {"parts": 2**31},
        {"deltas": [msgspec.structs.replace(delta(), minute=2**31)]},
        {"deltas": [msgspec.structs.replace(delta(), minute=-1)]},
        {"deltas": [delta(), delta(2**63)]},
        {"deltas": [msgspec.structs.replace(delta(), campaign="c\0")]},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_batch_that_nobody_could_add_halts_its_source_alone(wrong: dict[str, Any]) -> None:
    bad = msgspec.structs.replace(batch(0, 3), **wrong)
    good = batch(0, 5, change=7, source=SOURCE._replace(partition=1))
    ledger = Ledger()
    assert ledger.apply(topic(bad, good)).halt_offsets == {SOURCE: 0}
    assert ledger.total == 7


def test_a_restore_that_nobody_could_carry_out_halts_its_source() -> None:
    for epoch, first in ((2**31, 0), (1, -1)):
        ledger = Ledger()
        ledger.apply(topic(batch(0, 3)))
        assert ledger.apply(topic(batch(first, 3, epoch=epoch))).halt_offsets == {SOURCE: 0}


def test_what_names_no_source_partition_is_none() -> None:
    assert has_valid_source(batch(0, 3))
    for partition in (-1, 2**31):
        assert not has_valid_source(batch(0, 3, source=SOURCE._replace(partition=partition)))
    assert not has_valid_source(batch(0, 3, source=SOURCE._replace(source="petitions\0")))


def test_a_halted_source_takes_nothing_and_the_others_go_on() -> None:
    other = SourcePartition("petitions.signatures.v1", 1)
    ledger = Ledger()
    outcome = ledger.apply(
        topic(batch(0, 3), batch(9, 10), batch(3, 4), batch(0, 5, source=other), batch(5, 6, source=other))
    )
    assert outcome.processed == 5
    assert ledger.heads[SOURCE].halt_reason is not None
    assert ledger.heads[SOURCE].next == 3
    assert ledger.heads[other].next == 6


def test_nothing_moves_before_the_last_part() -> None:
    ledger = Ledger()
    parts = topic(*(batch(0, 9, change=part + 1, part=part, parts=3) for part in range(3)))
    ledger.apply(parts[:2])
    assert (ledger.total, ledger.heads[SOURCE].next, ledger.rows) == (0, 0, [])
    outcome = ledger.apply(parts[2:])
    assert (ledger.total, ledger.heads[SOURCE].next) == (6, 9)
    assert [row.change for row in outcome.rows] == [6]


def test_parts_out_of_order_or_of_different_batches_halt() -> None:
    first = batch(0, 9, part=0, parts=3)
    for wrong in (batch(0, 9, part=2, parts=3), batch(0, 8, part=1, parts=3), batch(0, 9, part=1, parts=2)):
        assert Ledger().apply(topic(first, wrong)).halt_offsets == {SOURCE: 1}


def test_a_higher_epoch_asks_for_the_rows_from_its_first_offset_to_be_dropped() -> None:
    ledger = Ledger()
    ledger.apply(topic(batch(0, 3), batch(3, 6)))
    outcome = ledger.apply(topic(batch(3, 4, epoch=1)))
    assert outcome.restore is not None
    assert (outcome.restore.source, outcome.restore.epoch, outcome.restore.first) == (SOURCE, 1, 3)
    assert outcome.processed == 0


def test_a_database_restored_again_is_heard_in_a_still_higher_epoch_alone() -> None:
    before = (batch(0, 5), batch(5, 12, epoch=1))
    assert SOURCE in Ledger().apply(topic(*before, batch(5, 8, epoch=1))).halt_offsets
    outcome = Ledger().apply(topic(*before, batch(5, 8, epoch=2)))
    assert outcome.restore is not None
    assert (outcome.restore.epoch, outcome.restore.first, outcome.halt_offsets) == (2, 5, {})


def test_a_higher_epoch_at_the_end_goes_on_there() -> None:
    ledger = Ledger()
    ledger.apply(topic(batch(0, 3), batch(3, 6, epoch=1)))
    assert (ledger.heads[SOURCE].next, ledger.heads[SOURCE].epoch) == (6, 1)


Cuts = st.lists(st.integers(0, 40), max_size=8)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Part], list[list[Part]]]:
    """A tally topic of several sources, and its deliveries: split into any transactions, with any repeats."""
    batches: list[ActionsCounted] = []
    for partition in range(draw(st.integers(1, 3))):
        source, first = SourcePartition("s", partition), 0
        for _ in range(draw(st.integers(0, 6))):
            next_ = first + draw(st.integers(1, 5))
            parts = draw(st.sampled_from([1, 1, 2, 3]))
            batches += [
                batch(first, next_, change=draw(st.integers(-3, 9)), part=part, parts=parts, source=source)
                for part in range(parts)
            ]
            first = next_
    # Sources mix on the topic, item in its own order.
    order = draw(st.permutations([item.partition for item in batches]))
    queues = {partition: [item for item in batches if item.partition == partition] for partition in set(order)}
    parts_on_topic = topic(*(queues[partition].pop(0) for partition in order))
    delivered, position = [], 0
    while position < len(parts_on_topic):
        start = max(0, position - draw(st.integers(0, 4)))
        end = min(len(parts_on_topic), position + draw(st.integers(1, 4)))
        delivered.append(parts_on_topic[start:end])
        position = end
    return parts_on_topic, delivered


@given(deliveries())
def test_any_split_and_any_repeats_give_what_one_pass_gives(case: tuple[list[Part], list[list[Part]]]) -> None:
    parts, delivered = case
    once, again = Ledger(), Ledger()
    once.apply(parts)
    for item in delivered:
        assert again.apply(item).halt_offsets == {}
    assert again.total == once.total == sum(item.change for part in parts for item in part.batch.deltas)
    assert {source: head.hash for source, head in again.heads.items()} == {
        source: head.hash for source, head in once.heads.items()
    }
    assert sorted(again.rows, key=lambda row: (row.source, row.first)) == sorted(
        once.rows, key=lambda row: (row.source, row.first)
    )


@given(deliveries(), st.data())
def test_a_lost_batch_never_goes_unnoticed(case: tuple[list[Part], list[list[Part]]], data: st.DataObject) -> None:
    parts, _ = case
    followed = [
        index
        for index, part in enumerate(parts)
        if any(later.source == part.source and later.batch.first >= part.batch.next for later in parts[index:])
    ]
    if not followed:
        return
    lost = data.draw(st.sampled_from(followed))
    outcome = Ledger().apply([part for index, part in enumerate(parts) if index != lost])
    assert parts[lost].source in outcome.halt_offsets

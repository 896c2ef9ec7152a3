"""Counting any history of events, in any pieces, with any crashes and redrives, against a naive model of it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.counting.fold import InputRecord, LoadedState, Outcome, fold
from shared.counting.quotas import QuotaClaim
from shared.counting.transitions import (
    DECISIONS,
    EVIDENCE,
    HELD_EVIDENCE,
    FollowUp,
    FollowUpType,
    Row,
    State,
    Submitted,
    counted_as,
)

KEYS = (b"ana", b"bea")
LIMIT = 2
Cell = tuple[int, str, int]


@dataclass(frozen=True)
class HistoryEvent:
    """One event of a history. A `spoilt` one cannot be decoded until it is redriven.

    `digest` is that of a submission, or of the one that a decision with the number `decision` is about.
    """

    key: bytes
    event_type: str
    state: State = "r"
    spoilt: bool = False
    digest: int = 1
    decision: int = 1


histories = st.lists(
    st.builds(
        HistoryEvent,
        key=st.sampled_from(KEYS),
        event_type=st.sampled_from(("submitted", "submitted", "submitted", *get_args(FollowUpType))),
        state=st.sampled_from(("r", "c", "s")),
        spoilt=st.sampled_from((False, False, False, True)),
        digest=st.sampled_from((1, 1, 1, 2)),
        decision=st.integers(1, 20),
    ),
    max_size=14,
)


@dataclass
class Store:
    """A database: the stored state, and the published totals."""

    state: LoadedState = field(default_factory=LoadedState)
    totals: Counter[Cell] = field(default_factory=Counter)
    held: Counter[Cell] = field(default_factory=Counter)

    def apply(self, records: Sequence[InputRecord]) -> Outcome:
        outcome = fold(records, self.state)
        for changes in outcome.changes.values():
            for change in changes:
                self.totals[change.dimensions, change.evidence, change.minute] += change.change
                self.held[change.dimensions, change.evidence, change.minute] += change.held
        return outcome

    def counted(self) -> dict[Cell, int]:
        return {cell: count for cell, count in self.totals.items() if count}

    def rows(self) -> dict[bytes, Row]:
        return self.state.rows


def input_record(offset: int, event: HistoryEvent, *, origin: int | None = None, limited: bool = False) -> InputRecord:
    first = offset if origin is None else origin
    if event.spoilt and origin is None:
        return InputRecord(0, offset, first, event.key, None, refusal="unreadable")
    if event.event_type == "submitted":
        submitted = Submitted(offset, first, 0, first % 3, first // 4, event.state, event.digest)
        claim = QuotaClaim((b"person", first // 4), LIMIT) if limited else None
        return InputRecord(0, offset, first, event.key, submitted, claim=claim)
    follow_up = FollowUp(offset, first, follow_up_type(event))
    if follow_up.type in DECISIONS:
        follow_up = replace(follow_up, digest=event.digest, decision=event.decision)
    return InputRecord(0, offset, first, event.key, follow_up)


def follow_up_type(event: HistoryEvent) -> FollowUpType:
    return event.event_type  # type: ignore[return-value]


def input_records(history: Sequence[HistoryEvent], *, limited: bool = False) -> list[InputRecord]:
    return [input_record(offset, event, limited=limited) for offset, event in enumerate(history)]


def redrive(store: Store, history: Sequence[HistoryEvent], start: int) -> list[InputRecord]:
    """Redrive every dead letter, in the order of their origins, from offset `start` on."""
    origins = sorted(store.state.dead_letters)
    return [
        input_record(start + number, replace(history[origin.offset], spoilt=False), origin=origin.offset)
        for number, origin in enumerate(origins)
    ]


def apply_all(events: Sequence[InputRecord]) -> Store:
    store = Store()
    store.apply(events)
    return store


@given(histories, st.booleans(), st.data())
def test_any_split_with_any_crash_gives_what_one_pass_gives(
    history: list[HistoryEvent],
    limited: bool,  # noqa: FBT001
    data: st.DataObject,
) -> None:
    events = input_records(history, limited=limited)
    store, at = Store(), 0
    while at < len(events):
        size = data.draw(st.integers(1, len(events) - at))
        if data.draw(st.booleans()):
            copy.deepcopy(store).apply(events[at : at + size])
            continue
        store.apply(events[at : at + size])
        at += size
    whole = apply_all(events)
    assert (store.rows(), store.counted(), store.held) == (whole.rows(), whole.counted(), whole.held)
    assert (store.state.quota_counts, store.state.decisions) == (whole.state.quota_counts, whole.state.decisions)


@given(histories, st.booleans(), st.integers(0, 14))
def test_a_replay_over_what_is_held_changes_nothing(
    history: list[HistoryEvent],
    limited: bool,  # noqa: FBT001
    start: int,
) -> None:
    events = input_records(history, limited=limited)
    store = apply_all(events)
    before = copy.deepcopy(store)
    store.apply(events[start:])
    assert (store.rows(), store.counted()) == (before.rows(), before.counted())


@given(histories)
def test_redriving_twice_gives_what_once_gives(history: list[HistoryEvent]) -> None:
    store = apply_all(input_records(history))
    again = redrive(store, history, len(history))
    store.apply(again)
    once = copy.deepcopy(store)
    refused = store.state.dead_letters
    outcome = store.apply(redrive(store, history, len(history) + len(again)))
    assert (outcome.changes, store.rows(), store.state.dead_letters) == ({}, once.rows(), refused)


@settings(max_examples=1000)
@given(histories)
def test_no_redrive_undoes_a_later_submission(history: list[HistoryEvent]) -> None:
    store = apply_all(input_records(history))
    before = dict(store.rows())
    store.apply(redrive(store, history, len(history)))
    for key in KEYS:
        last = max((n for n, event in enumerate(history) if event.key == key and submission(event)), default=-1)
        refused = [origin.offset for origin, letter in store.state.dead_letters.items() if letter.key == key]
        if all(offset < last for offset in refused) and counted_as(before.get(key)):
            assert counted_as(store.rows()[key])


def submission(event: HistoryEvent) -> bool:
    return event.event_type == "submitted" and not event.spoilt


@given(histories)
def test_a_redriven_confirmation_takes_effect_if_nothing_was_withdrawn_since(history: list[HistoryEvent]) -> None:
    start = [HistoryEvent(b"ana", "submitted"), HistoryEvent(b"ana", "confirmed", spoilt=True)]
    rest = [event for event in history if event.event_type in {"submitted", "confirmed"}]
    store = apply_all(input_records(start + rest))
    store.apply(redrive(store, start + rest, len(start + rest)))
    assert store.rows()[b"ana"].state == "c"


@given(histories, st.booleans())
def test_what_others_are_told_sums_to_what_the_rows_are_worth(
    history: list[HistoryEvent],
    limited: bool,  # noqa: FBT001
) -> None:
    store = apply_all(input_records(history, limited=limited))
    store.apply(redrive(store, history, len(history)))
    counted = Counter(
        (row.dimensions, EVIDENCE[row.state], row.minute)
        for row in store.rows().values()
        if counted_as(row) is not None
    )
    assert store.counted() == dict(counted)
    held = Counter(
        (row.dimensions, HELD_EVIDENCE[row.state], row.minute)
        for row in store.rows().values()
        if row.state in HELD_EVIDENCE and not row.invalidated
    )
    assert {cell: count for cell, count in store.held.items() if count} == dict(held)


@given(histories)
def test_the_rows_are_those_of_a_naive_model(history: list[HistoryEvent]) -> None:
    store = apply_all(input_records(history))
    for key in KEYS:
        model = naive_state(event for event in history if event.key == key)
        row = store.rows().get(key)
        assert (row and (row.state, row.invalidated)) == model


def naive_state(events: Iterable[HistoryEvent]) -> tuple[str, bool] | None:
    """The state and invalidation that one person's history leads to, by a naive model."""
    state, invalidated, digest, last_decision = "nothing", False, 0, 0
    for event in events:
        if event.spoilt or (state == "nothing" and event.event_type != "submitted"):
            continue
        if event.event_type in DECISIONS and (event.decision <= last_decision or event.digest != digest):
            continue
        if event.event_type in DECISIONS:
            last_decision = event.decision
        if event.event_type == "submitted" and state in {"nothing", "w"}:
            digest = event.digest
        if event.event_type in {"invalidated", "reinstated"}:
            invalidated = event.event_type == "invalidated"
        state = naive_move(state, event)
    return None if state == "nothing" else (state, invalidated)


def naive_move(state: str, event: HistoryEvent) -> str:
    if event.event_type == "submitted" and state in {"nothing", "w"}:
        return event.state
    if state == "r" and (event.event_type == "confirmed" or (event.event_type == "submitted" and event.state == "c")):
        return "c"
    return "w" if event.event_type == "withdrawn" else state


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(("submitted", "withdrawn"))), max_size=30))
def test_no_more_than_the_limit_of_a_day_is_counted(events: list[tuple[int, str]]) -> None:
    history = [HistoryEvent(bytes([key]), event_type) for key, event_type in events]
    store = Store()
    for offset, event in enumerate(history):
        record = input_record(offset, event, limited=True)
        store.apply([record._replace(claim=record.claim and QuotaClaim((b"person", 0), LIMIT))])
        assert sum(counted_as(row) is not None for row in store.rows().values()) <= LIMIT

"""Counting any history of events, in any pieces, with any crashes and redrives, against a naive model of it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.counting.fold import InputRecord, LoadedState, Outcome, Quota, fold
from shared.counting.transitions import EVIDENCE, FollowUp, FollowUpType, Row, State, Submitted, counted_as

KEYS = (b"ana", b"bea")
LIMIT = 2
Cell = tuple[int, str, int]


@dataclass(frozen=True)
class HistoryEvent:
    """One event of a history. A `spoilt` one cannot be decoded until it is redriven."""

    key: bytes
    event_type: str
    state: State = "r"
    spoilt: bool = False


histories = st.lists(
    st.builds(
        HistoryEvent,
        key=st.sampled_from(KEYS),
        event_type=st.sampled_from(("submitted", "submitted", "submitted", *get_args(FollowUpType))),
        state=st.sampled_from(("r", "c", "s")),
        spoilt=st.sampled_from((False, False, False, True)),
    ),
    max_size=14,
)


@dataclass
class Store:
    """A database: the stored state, and the published totals."""

    state: LoadedState = field(default_factory=LoadedState)
    totals: Counter[Cell] = field(default_factory=Counter)

    def apply(self, records: Sequence[InputRecord]) -> Outcome:
        outcome = fold(records, self.state)
        for changes in outcome.changes.values():
            for change in changes:
                self.totals[change.dimensions, change.evidence, change.minute] += change.change
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
        submitted = Submitted(offset, first, 0, first % 3, first // 4, event.state, first)
        return InputRecord(0, offset, first, event.key, submitted, quota=Quota(b"person", LIMIT) if limited else None)
    return InputRecord(0, offset, first, event.key, FollowUp(offset, first, follow_up_type(event)))


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
    assert (store.rows(), store.counted(), store.state.daily_counts) == (
        whole.rows(),
        whole.counted(),
        whole.state.daily_counts,
    )


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


@given(histories)
def test_what_others_are_told_sums_to_what_the_rows_are_worth(history: list[HistoryEvent]) -> None:
    store = apply_all(input_records(history))
    store.apply(redrive(store, history, len(history)))
    counted = Counter(
        (row.dimensions, EVIDENCE[row.state], row.minute)
        for row in store.rows().values()
        if counted_as(row) is not None
    )
    assert store.counted() == dict(counted)


@given(histories)
def test_the_rows_are_those_of_a_naive_model(history: list[HistoryEvent]) -> None:
    store = apply_all(input_records(history))
    for key in KEYS:
        model = naive_state(event for event in history if event.key == key)
        row = store.rows().get(key)
        assert (row and (row.state, row.invalidated)) == model


def naive_state(events: object) -> tuple[str, bool] | None:
    """The state and invalidation that one person's history leads to, by a naive model."""
    state, invalidated = "nothing", False
    for event in events:  # type: ignore[attr-defined]
        if event.spoilt or (state == "nothing" and event.event_type != "submitted"):
            continue
        if event.event_type == "submitted":
            if state in {"nothing", "w"}:
                state = event.state
            elif state == "r" and event.state == "c":
                state = "c"
        elif event.event_type == "confirmed":
            state = "c" if state == "r" else state
        elif event.event_type == "withdrawn":
            state = "w"
        elif event.event_type == "invalidated":
            invalidated = True
        elif event.event_type == "reinstated":
            invalidated = False
    return None if state == "nothing" else (state, invalidated)


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(("submitted", "withdrawn"))), max_size=30))
def test_no_more_than_the_limit_of_a_day_is_counted(events: list[tuple[int, str]]) -> None:
    history = [HistoryEvent(bytes([key]), event_type) for key, event_type in events]
    store = Store()
    for offset, event in enumerate(history):
        one = input_record(offset, event, limited=True)
        day = replace(one.event, minute=0) if isinstance(one.event, Submitted) else one.event
        store.apply([one._replace(event=day)])
        assert sum(counted_as(row) is not None for row in store.rows().values()) <= LIMIT

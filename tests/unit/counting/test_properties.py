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
from shared.counting.transitions import EVIDENCE, FollowUp, FollowUpType, Row, State, Submitted, worth

KEYS = (b"ana", b"bea")
LIMIT = 2
Cell = tuple[int, str, int]


@dataclass(frozen=True)
class Told:
    """One event of a history. `spoilt`: nobody could read it, until it is redriven."""

    key: bytes
    what: str
    state: State = "r"
    spoilt: bool = False


histories = st.lists(
    st.builds(
        Told,
        key=st.sampled_from(KEYS),
        what=st.sampled_from(("submitted", "submitted", "submitted", *get_args(FollowUpType))),
        state=st.sampled_from(("r", "c", "s")),
        spoilt=st.sampled_from((False, False, False, True)),
    ),
    max_size=14,
)


@dataclass
class Store:
    """A database: what is held, and the totals that others were told."""

    held: LoadedState = field(default_factory=LoadedState)
    totals: Counter[Cell] = field(default_factory=Counter)

    def apply(self, arrived: Sequence[InputRecord]) -> Outcome:
        outcome = fold(arrived, self.held)
        for changes in outcome.changes.values():
            for change in changes:
                self.totals[change.dimensions, change.evidence, change.minute] += change.change
        return outcome

    def counted(self) -> dict[Cell, int]:
        return {cell: count for cell, count in self.totals.items() if count}

    def rows(self) -> dict[bytes, Row]:
        return self.held.rows


def arrived(offset: int, told: Told, *, origin: int | None = None, limited: bool = False) -> InputRecord:
    first = offset if origin is None else origin
    if told.spoilt and origin is None:
        return InputRecord(0, offset, first, told.key, None, refusal="unreadable")
    if told.what == "submitted":
        event = Submitted(offset, first, 0, first % 3, first // 4, told.state, first)
        return InputRecord(0, offset, first, told.key, event, quota=Quota(b"person", LIMIT) if limited else None)
    return InputRecord(0, offset, first, told.key, FollowUp(offset, first, then(told)))


def then(told: Told) -> FollowUpType:
    return told.what  # type: ignore[return-value]


def log(history: Sequence[Told], *, limited: bool = False) -> list[InputRecord]:
    return [arrived(offset, told, limited=limited) for offset, told in enumerate(history)]


def redriven(store: Store, history: Sequence[Told], start: int) -> list[InputRecord]:
    """Every dead letter again, in the order of their origins, from offset `start` on."""
    places = sorted(store.held.dead)
    return [
        arrived(start + number, replace(history[place.offset], spoilt=False), origin=place.offset)
        for number, place in enumerate(places)
    ]


def one_pass(events: Sequence[InputRecord]) -> Store:
    store = Store()
    store.apply(events)
    return store


@given(histories, st.booleans(), st.data())
def test_any_split_with_any_crash_gives_what_one_pass_gives(
    history: list[Told],
    limited: bool,  # noqa: FBT001
    data: st.DataObject,
) -> None:
    events = log(history, limited=limited)
    store, at = Store(), 0
    while at < len(events):
        size = data.draw(st.integers(1, len(events) - at))
        if data.draw(st.booleans()):
            copy.deepcopy(store).apply(events[at : at + size])
            continue
        store.apply(events[at : at + size])
        at += size
    whole = one_pass(events)
    assert (store.rows(), store.counted(), store.held.opened) == (whole.rows(), whole.counted(), whole.held.opened)


@given(histories, st.booleans(), st.integers(0, 14))
def test_a_replay_over_what_is_held_changes_nothing(
    history: list[Told],
    limited: bool,  # noqa: FBT001
    start: int,
) -> None:
    events = log(history, limited=limited)
    store = one_pass(events)
    before = copy.deepcopy(store)
    store.apply(events[start:])
    assert (store.rows(), store.counted()) == (before.rows(), before.counted())


@given(histories)
def test_redriving_twice_gives_what_once_gives(history: list[Told]) -> None:
    store = one_pass(log(history))
    again = redriven(store, history, len(history))
    store.apply(again)
    once = copy.deepcopy(store)
    refused = store.held.dead
    outcome = store.apply(redriven(store, history, len(history) + len(again)))
    assert (outcome.changes, store.rows(), store.held.dead) == ({}, once.rows(), refused)


@settings(max_examples=1000)
@given(histories)
def test_no_redrive_undoes_a_later_submission(history: list[Told]) -> None:
    store = one_pass(log(history))
    before = dict(store.rows())
    store.apply(redriven(store, history, len(history)))
    for key in KEYS:
        last = max((n for n, told in enumerate(history) if told.key == key and submission(told)), default=-1)
        refused = [place.offset for place, letter in store.held.dead.items() if letter.key == key]
        if all(offset < last for offset in refused) and worth(before.get(key)):
            assert worth(store.rows()[key])


def submission(told: Told) -> bool:
    return told.what == "submitted" and not told.spoilt


@given(histories)
def test_a_redriven_confirmation_takes_effect_if_nothing_was_withdrawn_since(history: list[Told]) -> None:
    start = [Told(b"ana", "submitted"), Told(b"ana", "confirmed", spoilt=True)]
    rest = [told for told in history if told.what in {"submitted", "confirmed"}]
    store = one_pass(log(start + rest))
    store.apply(redriven(store, start + rest, len(start + rest)))
    assert store.rows()[b"ana"].state == "c"


@given(histories)
def test_what_others_are_told_sums_to_what_the_rows_are_worth(history: list[Told]) -> None:
    store = one_pass(log(history))
    store.apply(redriven(store, history, len(history)))
    worths = Counter(
        (row.dimensions, EVIDENCE[row.state], row.minute) for row in store.rows().values() if worth(row) is not None
    )
    assert store.counted() == dict(worths)


@given(histories)
def test_the_rows_are_those_of_a_naive_model(history: list[Told]) -> None:
    store = one_pass(log(history))
    for key in KEYS:
        model = naive(told for told in history if told.key == key)
        row = store.rows().get(key)
        assert (row and (row.state, row.invalidated)) == model


def naive(events: object) -> tuple[str, bool] | None:
    """One person's history as a person would tell it."""
    state, marked = "nothing", False
    for told in events:  # type: ignore[attr-defined]
        if told.spoilt or (state == "nothing" and told.what != "submitted"):
            continue
        if told.what == "submitted":
            if state in {"nothing", "w"}:
                state = told.state
            elif state == "r" and told.state == "c":
                state = "c"
        elif told.what == "confirmed":
            state = "c" if state == "r" else state
        elif told.what == "withdrawn":
            state = "w"
        elif told.what == "invalidated":
            marked = True
        elif told.what == "reinstated":
            marked = False
    return None if state == "nothing" else (state, marked)


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(("submitted", "withdrawn"))), max_size=30))
def test_no_more_than_the_limit_of_a_day_is_counted(events: list[tuple[int, str]]) -> None:
    history = [Told(bytes([key]), what) for key, what in events]
    store = Store()
    for offset, told in enumerate(history):
        one = arrived(offset, told, limited=True)
        day = replace(one.event, minute=0) if isinstance(one.event, Submitted) else one.event
        store.apply([one._replace(event=day)])
        assert sum(worth(row) is not None for row in store.rows().values()) <= LIMIT

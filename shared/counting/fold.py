"""Folds events, in the order of their offsets, over what is held: pure, so the same in counter and replay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.counting.transitions import Change, Event, Row, Step, Submitted, transition
from shared.errors import PermanentError

if TYPE_CHECKING:
    from shared.counting.batch_plan import DecodedRecord

CONFIRMED: Final = frozenset("ck")
MINUTES_A_DAY: Final = 24 * 60


class Quota(NamedTuple):
    """Whose daily limit a submission falls under: the person key, and how many a day are counted."""

    person: bytes
    limit: int


class InputRecord(NamedTuple):
    """One record of a batch: what it says (`event`), or why it says nothing that can be understood (`refusal`).

    `origin` is its own offset, unless it was redriven: then where it stood first in the same partition.
    """

    partition: int
    offset: int
    origin: int
    key: bytes
    event: Event | None
    refusal: str = ""
    quota: Quota | None = None
    decoded: DecodedRecord | None = None
    """What the record said, for whoever stores it; the fold does not look."""

    @property
    def redriven(self) -> bool:
        return self.origin != self.offset


class Place(NamedTuple):
    """Where a dead letter stood first."""

    partition: int
    offset: int


class DeadLetter(NamedTuple):
    """What is remembered of a dead letter.

    `applied` says that it was redriven with success, `superseded` that its key was submitted since.
    """

    key: bytes
    reason: str
    applied: bool = False
    superseded: bool = False


@dataclass(slots=True)
class LoadedState:
    """What is held about the keys, persons and origins of a batch; `fold` keeps it up to date."""

    rows: dict[bytes, Row] = field(default_factory=dict)
    dead: dict[Place, DeadLetter] = field(default_factory=dict)
    waiting: dict[bytes, set[Place]] = field(default_factory=dict)
    opened: dict[tuple[bytes, int], int] = field(default_factory=dict)
    """How many actions a person (key) has begun on a day (whole days since 1970)."""

    def add_dead_letter(self, place: Place, letter: DeadLetter) -> None:
        """Hold a dead letter."""
        self.dead[place] = letter
        self.waiting.setdefault(letter.key, set()).add(place)


@dataclass(slots=True)
class Outcome:
    """What a fold did: rows and dead letters it touched, what to add to the totals, what to keep beside them."""

    rows: dict[bytes, Row] = field(default_factory=dict)
    dead: dict[Place, DeadLetter] = field(default_factory=dict)
    opened: dict[tuple[bytes, int], int] = field(default_factory=dict)
    changes: dict[int, list[Change]] = field(default_factory=dict)
    """By partition."""
    refused: list[tuple[InputRecord, str]] = field(default_factory=list)
    first: list[InputRecord] = field(default_factory=list)
    """Submissions of keys that were new."""
    further: list[InputRecord] = field(default_factory=list)
    """Submissions with other data than the first of their key."""
    confirmed: list[InputRecord] = field(default_factory=list)
    """Submissions and confirmations that say whose data a confirmed action shows."""
    repeats: int = 0


def fold(records: Iterable[InputRecord], loaded: LoadedState) -> Outcome:
    """Apply `arrived` in order to `held`, which knows everything about their keys, persons and origins."""
    outcome = Outcome()
    for one in records:
        letter = loaded.dead.get(Place(one.partition, one.origin)) if one.redriven else None
        if letter is not None and letter.applied:
            continue
        try:
            _apply(one, letter, loaded, outcome)
        except PermanentError as error:
            outcome.refused.append((one, error.reason))
            _remember(one, DeadLetter(one.key, error.reason), loaded, outcome)
        else:
            if one.redriven:
                settled = letter or DeadLetter(one.key, "")
                _remember(one, settled._replace(applied=True), loaded, outcome)
    return outcome


def _remember(one: InputRecord, letter: DeadLetter, held: LoadedState, outcome: Outcome) -> None:
    place = Place(one.partition, one.origin)
    if letter.applied or place not in held.dead:
        held.add_dead_letter(place, letter)
        outcome.dead[place] = letter


def _apply(one: InputRecord, letter: DeadLetter | None, held: LoadedState, outcome: Outcome) -> None:
    event = one.event
    if event is None:
        raise PermanentError(one.refusal)
    before = held.rows.get(one.key)
    if isinstance(event, Submitted):
        day = (one.quota.person, event.minute // MINUTES_A_DAY) if one.quota else None
        if one.quota and day and held.opened.get(day, 0) >= one.quota.limit:
            event = replace(event, held=True)
        step = transition(before, event)
        _note_submission(one, event, before, step, outcome)
        _supersede(one, held, outcome)
        if step.opened and day:
            held.opened[day] = outcome.opened[day] = held.opened.get(day, 0) + 1
    else:
        step = transition(before, replace(event, superseded=True) if letter and letter.superseded else event)
        if event.type == "confirmed" and step.row.state in CONFIRMED and event.origin >= step.row.opened:
            outcome.confirmed.append(one)
    if step.row is not before:
        held.rows[one.key] = outcome.rows[one.key] = step.row
    if step.changes:
        outcome.changes.setdefault(one.partition, []).extend(step.changes)


def _note_submission(one: InputRecord, event: Submitted, before: Row | None, step: Step, outcome: Outcome) -> None:
    if before is None:
        outcome.first.append(one)
    elif event.digest != before.digest:
        outcome.further.append(one)
    if step.row is before:
        outcome.repeats += 1
    elif event.state == "c":
        outcome.confirmed.append(one)


def _supersede(one: InputRecord, held: LoadedState, outcome: Outcome) -> None:
    """Whatever of this key was refused before has a later submission now."""
    for place in held.waiting.get(one.key, ()):
        letter = held.dead[place]
        if place.partition == one.partition and place.offset < one.origin and not letter.superseded:
            held.dead[place] = outcome.dead[place] = letter._replace(superseded=True)

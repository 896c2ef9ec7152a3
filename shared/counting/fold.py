"""Folds events into the stored state, in the order of their offsets. It is pure, so counter and replay share it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.counting.transitions import Change, Event, Row, Step, Submitted, transition
from shared.errors import PermanentError

if TYPE_CHECKING:
    from shared.counting.batch_plan import DecodedRecord

CONFIRMED_STATES: Final = frozenset("ck")
MINUTES_PER_DAY: Final = 24 * 60


class Quota(NamedTuple):
    """The daily limit that a submission falls under: the person key, and how many a day are counted."""

    person: bytes
    limit: int


class InputRecord(NamedTuple):
    """One record of a batch: its `event`, or the reason why it cannot be counted (`refusal`).

    `origin` is the record's own offset or, if it was redriven, its first offset in the same partition.
    """

    partition: int
    offset: int
    origin: int
    key: bytes
    event: Event | None
    refusal: str = ""
    quota: Quota | None = None
    decoded: DecodedRecord | None = None
    """The decoded record, for the code that stores it; the fold does not read it."""

    @property
    def redriven(self) -> bool:
        return self.origin != self.offset


class PartitionOffset(NamedTuple):
    """The origin of a dead letter."""

    partition: int
    offset: int


class DeadLetter(NamedTuple):
    """The stored state of a dead letter.

    `applied` says that it was redriven with success, `superseded` that its key was submitted since.
    """

    key: bytes
    reason: str
    applied: bool = False
    superseded: bool = False


@dataclass(slots=True)
class LoadedState:
    """The stored state of the keys, persons and origins of a batch; `fold` keeps it up to date."""

    rows: dict[bytes, Row] = field(default_factory=dict)
    dead_letters: dict[PartitionOffset, DeadLetter] = field(default_factory=dict)
    dead_letters_by_key: dict[bytes, set[PartitionOffset]] = field(default_factory=dict)
    daily_counts: dict[tuple[bytes, int], int] = field(default_factory=dict)
    """How many actions a person (key) has begun on a day (whole days since 1970)."""

    def add_dead_letter(self, origin: PartitionOffset, dead_letter: DeadLetter) -> None:
        """Add a dead letter, or replace it."""
        self.dead_letters[origin] = dead_letter
        self.dead_letters_by_key.setdefault(dead_letter.key, set()).add(origin)


@dataclass(slots=True)
class Outcome:
    """The result of a fold: the rows, dead letters and daily counts to write, the changes of the totals, and the
    submissions to store.
    """

    rows: dict[bytes, Row] = field(default_factory=dict)
    dead_letters: dict[PartitionOffset, DeadLetter] = field(default_factory=dict)
    daily_counts: dict[tuple[bytes, int], int] = field(default_factory=dict)
    changes: dict[int, list[Change]] = field(default_factory=dict)
    """By partition."""
    refused: list[tuple[InputRecord, str]] = field(default_factory=list)
    first_submissions: list[InputRecord] = field(default_factory=list)
    """Submissions of new keys."""
    further_submissions: list[InputRecord] = field(default_factory=list)
    """Submissions with other data than the first of their key."""
    confirmations: list[InputRecord] = field(default_factory=list)
    """Submissions and confirmations that decide whose data a confirmed action shows."""
    repeats: int = 0


def fold(records: Iterable[InputRecord], loaded: LoadedState) -> Outcome:
    """Apply `records` in order to `loaded`, which must hold the state of all their keys, persons and origins."""
    outcome = Outcome()
    for record in records:
        dead_letter = (
            loaded.dead_letters.get(PartitionOffset(record.partition, record.origin)) if record.redriven else None
        )
        if dead_letter is not None and dead_letter.applied:
            continue
        try:
            _apply(record, dead_letter, loaded, outcome)
        except PermanentError as error:
            outcome.refused.append((record, error.reason))
            _record_dead_letter(record, DeadLetter(record.key, error.reason), loaded, outcome)
        else:
            if record.redriven:
                redriven = dead_letter or DeadLetter(record.key, "")
                _record_dead_letter(record, redriven._replace(applied=True), loaded, outcome)
    return outcome


def _record_dead_letter(record: InputRecord, dead_letter: DeadLetter, loaded: LoadedState, outcome: Outcome) -> None:
    origin = PartitionOffset(record.partition, record.origin)
    if dead_letter.applied or origin not in loaded.dead_letters:
        loaded.add_dead_letter(origin, dead_letter)
        outcome.dead_letters[origin] = dead_letter


def _apply(record: InputRecord, dead_letter: DeadLetter | None, loaded: LoadedState, outcome: Outcome) -> None:
    event = record.event
    if event is None:
        raise PermanentError(record.refusal)
    before = loaded.rows.get(record.key)
    if isinstance(event, Submitted):
        day = (record.quota.person, event.minute // MINUTES_PER_DAY) if record.quota else None
        if record.quota and day and loaded.daily_counts.get(day, 0) >= record.quota.limit:
            event = replace(event, held=True)
        step = transition(before, event)
        _record_submission(record, event, before, step, outcome)
        _supersede_dead_letters(record, loaded, outcome)
        if step.opened and day:
            loaded.daily_counts[day] = outcome.daily_counts[day] = loaded.daily_counts.get(day, 0) + 1
    else:
        superseded = dead_letter is not None and dead_letter.superseded
        step = transition(before, replace(event, superseded=True) if superseded else event)
        if event.type == "confirmed" and step.row.state in CONFIRMED_STATES and event.origin >= step.row.opened:
            outcome.confirmations.append(record)
    if step.row is not before:
        loaded.rows[record.key] = outcome.rows[record.key] = step.row
    if step.changes:
        outcome.changes.setdefault(record.partition, []).extend(step.changes)


def _record_submission(record: InputRecord, event: Submitted, before: Row | None, step: Step, outcome: Outcome) -> None:
    if before is None:
        outcome.first_submissions.append(record)
    elif event.digest != before.digest:
        outcome.further_submissions.append(record)
    if step.row is before:
        outcome.repeats += 1
    elif event.state == "c":
        outcome.confirmations.append(record)


def _supersede_dead_letters(record: InputRecord, loaded: LoadedState, outcome: Outcome) -> None:
    """Mark the earlier dead letters of the record's key as superseded by this submission."""
    for origin in loaded.dead_letters_by_key.get(record.key, ()):
        dead_letter = loaded.dead_letters[origin]
        if origin.partition == record.partition and origin.offset < record.origin and not dead_letter.superseded:
            superseded = dead_letter._replace(superseded=True)
            loaded.dead_letters[origin] = outcome.dead_letters[origin] = superseded

"""Folds events into the stored state, in the order of their offsets. It is pure, so counter and replay share it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from shared.counting.projections import ChangeKind
from shared.counting.quotas import QuotaClaim, QuotaCounter
from shared.counting.transitions import Change, Event, FollowUp, Row, Step, Submitted, is_about, transition
from shared.errors import PermanentError

CONFIRMED_STATES: Final = frozenset("ck")


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
    claim: QuotaClaim | None = None

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
    """The stored state of the keys, quota counters and origins of a batch; `fold` keeps it up to date."""

    rows: dict[bytes, Row] = field(default_factory=dict)
    dead_letters: dict[PartitionOffset, DeadLetter] = field(default_factory=dict)
    dead_letters_by_key: dict[bytes, set[PartitionOffset]] = field(default_factory=dict)
    quota_counts: dict[QuotaCounter, int] = field(default_factory=dict)
    decisions: dict[bytes, int] = field(default_factory=dict)
    """The number of the last decision that was applied to each key."""

    def add_dead_letter(self, origin: PartitionOffset, dead_letter: DeadLetter) -> None:
        """Add a dead letter, or replace it."""
        self.dead_letters[origin] = dead_letter
        self.dead_letters_by_key.setdefault(dead_letter.key, set()).add(origin)


@dataclass(slots=True)
class Outcome:
    """The result of a fold: the state to write, the changes of the totals and of the actions, and the submissions to
    store.
    """

    rows: dict[bytes, Row] = field(default_factory=dict)
    dead_letters: dict[PartitionOffset, DeadLetter] = field(default_factory=dict)
    quota_counts: dict[QuotaCounter, int] = field(default_factory=dict)
    decisions: dict[bytes, int] = field(default_factory=dict)
    changes: dict[int, list[Change]] = field(default_factory=dict)
    """By partition."""
    refused: list[tuple[InputRecord, str]] = field(default_factory=list)
    first_submissions: list[InputRecord] = field(default_factory=list)
    """Submissions of new keys."""
    further_submissions: list[InputRecord] = field(default_factory=list)
    """Submissions with other data than the one that opened their action."""
    action_changes: list[tuple[ChangeKind, InputRecord, int]] = field(default_factory=list)
    """What changed the actions, in order, each with the origin of the submission that opened the action."""
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
        step = _submit(record, event, before, loaded, outcome)
        _supersede_dead_letters(record, loaded, outcome)
    else:
        superseded = dead_letter is not None and dead_letter.superseded
        step = _follow_up(record, replace(event, superseded=True) if superseded else event, before, loaded, outcome)
    if step.row is not before:
        loaded.rows[record.key] = outcome.rows[record.key] = step.row
    if step.changes:
        outcome.changes.setdefault(record.partition, []).extend(step.changes)


def _submit(record: InputRecord, event: Submitted, before: Row | None, loaded: LoadedState, outcome: Outcome) -> Step:
    claim = record.claim
    if claim and loaded.quota_counts.get(claim.counter, 0) >= claim.limit:
        event = replace(event, held=True)
    step = transition(before, event)
    if before is None:
        outcome.first_submissions.append(record)
    elif event.digest != before.digest:
        outcome.further_submissions.append(record)
    if step.row is before:
        outcome.repeats += 1
    if step.opened:
        outcome.action_changes.append(("opened", record, event.origin))
        if claim:
            count = loaded.quota_counts.get(claim.counter, 0) + 1
            loaded.quota_counts[claim.counter] = outcome.quota_counts[claim.counter] = count
    if event.state == "c" and step.row is not before:
        outcome.action_changes.append(("confirmed", record, step.row.opened))
    return step


def _follow_up(record: InputRecord, event: FollowUp, before: Row | None, loaded: LoadedState, outcome: Outcome) -> Step:
    if before is not None and event.decision:
        if event.decision <= loaded.decisions.get(record.key, 0):
            return Step(before)
        if event.origin >= before.opened and is_about(before, event):
            loaded.decisions[record.key] = outcome.decisions[record.key] = event.decision
    step = transition(before, event)
    changed = step.row is not before
    # Another link of a confirmed action says whose data it shows from now on.
    confirmed_again = event.type == "confirmed" and step.row.state in CONFIRMED_STATES
    if changed or (confirmed_again and event.origin >= step.row.opened):
        opened = before.opened if before and event.type == "withdrawn" else step.row.opened
        outcome.action_changes.append((event.type, record, opened))
    return step


def _supersede_dead_letters(record: InputRecord, loaded: LoadedState, outcome: Outcome) -> None:
    """Mark the earlier dead letters of the record's key as superseded by this submission."""
    for origin in loaded.dead_letters_by_key.get(record.key, ()):
        dead_letter = loaded.dead_letters[origin]
        if origin.partition == record.partition and origin.offset < record.origin and not dead_letter.superseded:
            superseded = dead_letter._replace(superseded=True)
            loaded.dead_letters[origin] = outcome.dead_letters[origin] = superseded

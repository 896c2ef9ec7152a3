"""The state machine of counting: how one event changes the row of one action. It is pure.

                      submitted            confirmed            withdrawn
        (no row) ───────────────▶ recorded ─────────▶ confirmed ─────────▶ withdrawn
            │                        │   submitted with a date ▲  ▲            │  ▲
            │                        └─────────────────────────┘  │            │  │ withdrawn, from every
            │ submitted with a date ──────────────────────────────┘            │  │ state but this one
            │ submitted, self-reported ───▶ self-reported                      │
            │ submitted, held ────────────▶ held ── released ──▶ recorded, or self-reported
            │                                 └─ confirmed ─▶ held, confirmed ─┴ released ─▶ confirmed
            └◀─────────────── submitted opens a withdrawn row again ◀──────────┘

    beside every state: invalidated ⇄ reinstated, a flag that takes the row out of the count

Recorded, confirmed and self-reported count one, every other state nothing; the held states are counted apart. A change
is counted under the dimensions of the row, in its minute.

An event at or below the row's `applied_offset` does nothing. An event whose origin is older than the submission that
opened the row, or the withdrawal that closed it, does nothing either: a redrive never undoes a later event.
Invalidated, reinstated and released are decisions of people about one submission: they do nothing to an action that
another submission has opened since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from shared.errors import PermanentError
from shared.events.values import Evidence

State = Literal["r", "c", "s", "w", "h", "k", "t"]
"""Recorded, confirmed, self-reported, withdrawn, held, held and confirmed, held and self-reported, as stored in the
table."""
FollowUpType = Literal["confirmed", "withdrawn", "invalidated", "reinstated", "released"]
DECISIONS: Final = frozenset(("invalidated", "reinstated", "released"))
"""The events by which people decide about an action."""

EVIDENCE: Final[dict[State, Evidence]] = {"r": "recorded", "c": "confirmed", "s": "self_reported"}
"""The evidence that a state counts as; a state that is missing here is not counted."""
HELD_EVIDENCE: Final[dict[State, Evidence]] = {"h": "recorded", "k": "confirmed", "t": "self_reported"}
"""The evidence that a held state would count as."""
NO_SUBMISSION: Final = "no-submission"

_TRANSITIONS: Final[dict[FollowUpType, dict[State, State]]] = {
    "confirmed": {"r": "c", "h": "k"},
    "withdrawn": {"r": "w", "c": "w", "s": "w", "h": "w", "k": "w", "t": "w"},
    "released": {"h": "r", "k": "c", "t": "s"},
    "invalidated": {},
    "reinstated": {},
}
_HELD_STATES: Final[dict[State, State]] = {"r": "h", "s": "t", "c": "k"}


class Row(NamedTuple):
    """The stored state of one action.

    `dimensions` is the id of its combination of dimensions. `minute` is when the submission that opened it was
    accepted, or for an import when the person acted (whole minutes since 1970). `first_offset` is the first submission
    of its key, `applied_offset` the last record that changed the row, `opened` the origin of the submission that opened
    it or of the withdrawal that closed it since. `digest` is the first 8 bytes of the digest of the submission that
    opened it, 0 once its data is erased.
    """

    dimensions: int
    state: State
    invalidated: bool
    partition: int
    first_offset: int
    applied_offset: int
    opened: int
    minute: int
    digest: int


@dataclass(frozen=True, slots=True)
class Submitted:
    """A submission at `offset`. `origin` is its first offset, which differs if it was redriven.

    `state` is the state in which it would open a row if it were not `held`.
    """

    offset: int
    origin: int
    partition: int
    dimensions: int
    minute: int
    state: State
    digest: int
    held: bool = False


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A later event about an action. `superseded` says that the key was submitted again between origin and redrive.

    A decision has its rising number (`decision`) and the first 8 bytes of the digest of the submission that it is
    about. `reason` is the word of an invalidation or a reinstatement for the public record.
    """

    offset: int
    origin: int
    type: FollowUpType
    superseded: bool = False
    digest: int = 0
    decision: int = 0
    reason: str = ""


Event = Submitted | FollowUp


class Change(NamedTuple):
    """One change in the cell of `dimensions`, `evidence` and `minute`: of the count by `change` (-1, 0 or 1) and of the
    held actions by `held`, and why.
    """

    dimensions: int
    evidence: Evidence
    minute: int
    change: int
    withdrawn: int = 0
    invalidated: int = 0
    reinstated: int = 0
    held: int = 0
    reason: str = ""


class Step(NamedTuple):
    """The row after an event, and what the event changed. `opened` says that it opened the row, or opened it again."""

    row: Row
    changes: tuple[Change, ...] = ()
    opened: bool = False


def transition(row: Row | None, event: Event) -> Step:
    """Apply `event` to `row` (None: there is no row yet).

    Raises:
        PermanentError: `no-submission`, where an event needs a row and there is none.
    """
    if row is None:
        if isinstance(event, FollowUp):
            raise PermanentError(NO_SUBMISSION)
        return _open_row(None, event)
    if event.offset <= row.applied_offset or event.origin < row.opened:
        return Step(row)
    if isinstance(event, Submitted):
        return _resubmit(row, event)
    return _follow_up(row, event)


def _open_row(row: Row | None, event: Submitted) -> Step:
    after = Row(
        dimensions=event.dimensions,
        state=_HELD_STATES[event.state] if event.held else event.state,
        invalidated=row.invalidated if row else False,
        partition=event.partition,
        first_offset=row.first_offset if row else event.offset,
        applied_offset=event.offset,
        opened=event.origin,
        minute=event.minute,
        digest=event.digest,
    )
    return Step(after, _changes(row, after), opened=True)


def _resubmit(row: Row, event: Submitted) -> Step:
    if row.state == "w":
        return _open_row(row, event)
    if event.state == "c" and row.state in _TRANSITIONS["confirmed"]:
        return _update_row(row, event.offset, state=_TRANSITIONS["confirmed"][row.state])
    return Step(row)


def _follow_up(row: Row, event: FollowUp) -> Step:
    if not is_about(row, event) or (event.superseded and event.type in {"withdrawn", "invalidated"}):
        return Step(row)
    if event.type in {"invalidated", "reinstated"}:
        invalidated = event.type == "invalidated"
        if row.invalidated == invalidated:
            return Step(row)
        return _update_row(row, event.offset, invalidated=invalidated, reason=event.reason)
    state = _TRANSITIONS[event.type].get(row.state)
    if state is None:
        return Step(row)
    if event.type == "withdrawn":
        return _update_row(row, event.offset, state=state, opened=event.origin)
    return _update_row(row, event.offset, state=state)


def is_about(row: Row, event: FollowUp) -> bool:
    """Whether `event` is about the submission that opened `row`, as far as that is still known."""
    return not event.decision or not row.digest or event.digest == row.digest


def _update_row(
    row: Row,
    offset: int,
    *,
    state: State | None = None,
    invalidated: bool | None = None,
    opened: int | None = None,
    reason: str = "",
) -> Step:
    after = row._replace(
        state=state or row.state,
        invalidated=row.invalidated if invalidated is None else invalidated,
        opened=row.opened if opened is None else opened,
        applied_offset=offset,
    )
    return Step(after, _changes(row, after, reason))


def counted_as(row: Row | None) -> Evidence | None:
    """The evidence that `row` counts as, or None if it is not counted."""
    return None if row is None or row.invalidated else EVIDENCE.get(row.state)


def _changes(before: Row | None, after: Row, reason: str = "") -> tuple[Change, ...]:
    old, new = counted_as(before), counted_as(after)
    changes = []
    if before is not None and old is not None:
        invalidated = int(after.invalidated) if new is None else 0
        withdrawn = int(new is None) - invalidated
        word = reason if invalidated else ""
        changes.append(
            Change(before.dimensions, old, before.minute, -1, withdrawn=withdrawn, invalidated=invalidated, reason=word)
        )
    if before is not None and (evidence := _held_as(before)) is not None:
        changes.append(Change(before.dimensions, evidence, before.minute, 0, held=-1))
    if (evidence := _held_as(after)) is not None:
        changes.append(Change(after.dimensions, evidence, after.minute, 0, held=1))
    if new is not None:
        reinstated = int(before is not None and before.invalidated)
        word = reason if reinstated else ""
        changes.append(Change(after.dimensions, new, after.minute, 1, reinstated=reinstated, reason=word))
    return tuple(changes)


def _held_as(row: Row) -> Evidence | None:
    return None if row.invalidated else HELD_EVIDENCE.get(row.state)

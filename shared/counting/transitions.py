"""The state machine of counting: how one event changes the row of one action. It is pure.

                      submitted            confirmed            withdrawn
        (no row) ───────────────▶ recorded ─────────▶ confirmed ─────────▶ withdrawn
            │                        │   submitted with a date ▲  ▲            │  ▲
            │                        └─────────────────────────┘  │            │  │ withdrawn, from every
            │ submitted with a date ──────────────────────────────┘            │  │ state but this one
            │ submitted, self-reported ───▶ self-reported                      │
            │ submitted, over the limit ──▶ held ── released ──▶ recorded, or self-reported
            │                                 └─ confirmed ─▶ held, confirmed ─┴ released ─▶ confirmed
            └◀─────────────── submitted opens a withdrawn row again ◀──────────┘

    beside every state: invalidated ⇄ reinstated, a flag that takes the row out of the count

Recorded, confirmed and self-reported count one, every other state nothing. A change is counted under the dimensions of
the row, in the minute in which the submission that opened it was accepted.

An event at or below the row's `applied_offset` does nothing. An event whose origin is older than the submission that
opened the row, or the withdrawal that closed it, does nothing either: a redrive never undoes a later event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from shared.errors import PermanentError
from shared.events.words import Evidence

State = Literal["r", "c", "s", "w", "h", "k", "t"]
"""Recorded, confirmed, self-reported, withdrawn, held, held and confirmed, held and self-reported, as stored in the
table."""
FollowUpType = Literal["confirmed", "withdrawn", "invalidated", "reinstated", "released"]

EVIDENCE: Final[dict[State, Evidence]] = {"r": "recorded", "c": "confirmed", "s": "self_reported"}
"""The evidence that a state counts as; a state that is missing here is not counted."""
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

    `dimensions` is the id of its combination of dimensions. `minute` is when the submission that opened it was accepted
    (whole minutes since 1970). `first_offset` is the first submission of its key, `applied_offset` the last record that
    changed the row, `opened` the origin of the submission that opened it or of the withdrawal that closed it since.
    `digest` is the first 8 bytes of the digest of the submission at `first_offset`, 0 once its data is erased.
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

    `state` is the state in which it would open a row. `held` says that its person is over the day's limit.
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
    """A later event about an action. `superseded` says that the key was submitted again between origin and redrive."""

    offset: int
    origin: int
    type: FollowUpType
    superseded: bool = False


Event = Submitted | FollowUp


class Change(NamedTuple):
    """One change of a count: by `change` (-1 or 1), in the cell of `dimensions`, `evidence` and `minute`, and why."""

    dimensions: int
    evidence: Evidence
    minute: int
    change: int
    withdrawn: int = 0
    invalidated: int = 0
    reinstated: int = 0


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
        digest=row.digest if row else event.digest,
    )
    return Step(after, _changes(row, after), opened=True)


def _resubmit(row: Row, event: Submitted) -> Step:
    if row.state == "w":
        return _open_row(row, event)
    if event.state == "c" and row.state in _TRANSITIONS["confirmed"]:
        return _update_row(row, event.offset, state=_TRANSITIONS["confirmed"][row.state])
    return Step(row)


def _follow_up(row: Row, event: FollowUp) -> Step:
    if event.superseded and event.type in {"withdrawn", "invalidated"}:
        return Step(row)
    if event.type == "invalidated":
        return Step(row) if row.invalidated else _update_row(row, event.offset, invalidated=True)
    if event.type == "reinstated":
        return _update_row(row, event.offset, invalidated=False) if row.invalidated else Step(row)
    state = _TRANSITIONS[event.type].get(row.state)
    if state is None:
        return Step(row)
    if event.type == "withdrawn":
        return _update_row(row, event.offset, state=state, opened=event.origin)
    return _update_row(row, event.offset, state=state)


def _update_row(
    row: Row, offset: int, *, state: State | None = None, invalidated: bool | None = None, opened: int | None = None
) -> Step:
    after = row._replace(
        state=state or row.state,
        invalidated=row.invalidated if invalidated is None else invalidated,
        opened=row.opened if opened is None else opened,
        applied_offset=offset,
    )
    return Step(after, _changes(row, after))


def counted_as(row: Row | None) -> Evidence | None:
    """The evidence that `row` counts as, or None if it is not counted."""
    return None if row is None or row.invalidated else EVIDENCE.get(row.state)


def _changes(before: Row | None, after: Row) -> tuple[Change, ...]:
    old, new = counted_as(before), counted_as(after)
    if before is not None and old is not None and new is not None:
        return (Change(before.dimensions, old, before.minute, -1), Change(after.dimensions, new, after.minute, 1))
    if before is not None and old is not None:
        invalidated = int(after.invalidated)
        return (Change(before.dimensions, old, before.minute, -1, withdrawn=1 - invalidated, invalidated=invalidated),)
    if new is not None:
        reinstated = int(before is not None and before.invalidated)
        return (Change(after.dimensions, new, after.minute, 1, reinstated=reinstated),)
    return ()

"""What one event does to one action: the state machine of counting, pure.

                      submitted            confirmed            withdrawn
        (no row) ───────────────▶ recorded ─────────▶ confirmed ─────────▶ withdrawn
            │                        │   submitted with a date ▲  ▲            │  ▲
            │                        └─────────────────────────┘  │            │  │ withdrawn, from every
            │ submitted with a date ──────────────────────────────┘            │  │ state but this one
            │ submitted, self-reported ───▶ self-reported                      │
            │ submitted, over the limit ──▶ held ── released ──▶ recorded, or self-reported
            │                                 └─ confirmed ─▶ held, confirmed ─┴ released ─▶ confirmed
            └◀─────────────── submitted opens a withdrawn row anew ◀───────────┘

    beside every state: invalidated ⇄ reinstated, a mark that takes out of the count what the state is worth

Recorded, confirmed and self-reported are worth one, every other state nothing. What a step changes is counted where the
row says: its own dimensions, and the minute in which the submission that opened it was accepted.

An event at or below the row's `applied_offset` does nothing; nor does one whose origin is older than the submission
that opened the row, or the withdrawal that closed it: a redrive undoes nothing that came later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from shared.errors import PermanentError
from shared.events.words import Evidence

State = Literal["r", "c", "s", "w", "h", "k", "t"]
"""Recorded, confirmed, self-reported, withdrawn, held, held and confirmed meanwhile, held and self-reported: as the
table has them."""
FollowUpType = Literal["confirmed", "withdrawn", "invalidated", "reinstated", "released"]

EVIDENCE: Final[dict[State, Evidence]] = {"r": "recorded", "c": "confirmed", "s": "self_reported"}
"""What a state is worth; a state that is not here counts nothing."""
NO_SUBMISSION: Final = "no-submission"

_MOVES: Final[dict[FollowUpType, dict[State, State]]] = {
    "confirmed": {"r": "c", "h": "k"},
    "withdrawn": {"r": "w", "c": "w", "s": "w", "h": "w", "k": "w", "t": "w"},
    "released": {"h": "r", "k": "c", "t": "s"},
    "invalidated": {},
    "reinstated": {},
}
_HELD: Final[dict[State, State]] = {"r": "h", "s": "t", "c": "k"}


class Row(NamedTuple):
    """What is held of one action.

    `dimensions` is the id of its dimensions, `minute` that of acceptance (whole minutes since 1970) of the submission
    that opened it. `first_offset` is where its key was first submitted, `applied_offset` the last record that changed
    it, `opened` the origin of the submission that opened it or of the withdrawal that closed it since.
    `digest` is the beginning of the digest of the submission at `first_offset`, 0 once its data is erased.
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
    """A submission at `offset`. `origin` is where it stood first, which differs if it was redriven.

    `state` is what it would open a row as. `held` says that its person is over the day's limit.
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
    """What to add where: -1 or 1, and why."""

    dimensions: int
    evidence: Evidence
    minute: int
    change: int
    withdrawn: int = 0
    invalidated: int = 0
    reinstated: int = 0


class Step(NamedTuple):
    """The row after an event, and what the event changed. `opened` says that it began the action, or began it anew."""

    row: Row
    changes: tuple[Change, ...] = ()
    opened: bool = False


def transition(row: Row | None, event: Event) -> Step:
    """What `event` makes of `row` (None: nothing is held yet).

    Raises:
        PermanentError: `no-submission`, where an event that presupposes a row finds none.
    """
    if row is None:
        if isinstance(event, FollowUp):
            raise PermanentError(NO_SUBMISSION)
        return _opened(None, event)
    if event.offset <= row.applied_offset or event.origin < row.opened:
        return Step(row)
    if isinstance(event, Submitted):
        return _submitted_again(row, event)
    return _happened(row, event)


def _opened(row: Row | None, event: Submitted) -> Step:
    after = Row(
        dimensions=event.dimensions,
        state=_HELD[event.state] if event.held else event.state,
        invalidated=row.invalidated if row else False,
        partition=event.partition,
        first_offset=row.first_offset if row else event.offset,
        applied_offset=event.offset,
        opened=event.origin,
        minute=event.minute,
        digest=row.digest if row else event.digest,
    )
    return Step(after, _difference(row, after), opened=True)


def _submitted_again(row: Row, event: Submitted) -> Step:
    if row.state == "w":
        return _opened(row, event)
    if event.state == "c" and row.state in _MOVES["confirmed"]:
        return _moved(row, event.offset, state=_MOVES["confirmed"][row.state])
    return Step(row)


def _happened(row: Row, event: FollowUp) -> Step:
    if event.superseded and event.type in {"withdrawn", "invalidated"}:
        return Step(row)
    if event.type == "invalidated":
        return Step(row) if row.invalidated else _moved(row, event.offset, invalidated=True)
    if event.type == "reinstated":
        return _moved(row, event.offset, invalidated=False) if row.invalidated else Step(row)
    state = _MOVES[event.type].get(row.state)
    if state is None:
        return Step(row)
    if event.type == "withdrawn":
        return _moved(row, event.offset, state=state, opened=event.origin)
    return _moved(row, event.offset, state=state)


def _moved(
    row: Row, offset: int, *, state: State | None = None, invalidated: bool | None = None, opened: int | None = None
) -> Step:
    after = row._replace(
        state=state or row.state,
        invalidated=row.invalidated if invalidated is None else invalidated,
        opened=row.opened if opened is None else opened,
        applied_offset=offset,
    )
    return Step(after, _difference(row, after))


def worth(row: Row | None) -> Evidence | None:
    """As what `row` counts, or None."""
    return None if row is None or row.invalidated else EVIDENCE.get(row.state)


def _difference(before: Row | None, after: Row) -> tuple[Change, ...]:
    was, now = worth(before), worth(after)
    if before is not None and was is not None and now is not None:
        return (Change(before.dimensions, was, before.minute, -1), Change(after.dimensions, now, after.minute, 1))
    if before is not None and was is not None:
        marked = int(after.invalidated)
        return (Change(before.dimensions, was, before.minute, -1, withdrawn=1 - marked, invalidated=marked),)
    if now is not None:
        reinstated = int(before is not None and before.invalidated)
        return (Change(after.dimensions, now, after.minute, 1, reinstated=reinstated),)
    return ()

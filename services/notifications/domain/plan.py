"""When a mail goes to an address, and what it covers.

A person's first confirmation in a campaign goes at once. What they do in the ten minutes after a mail goes together in
the next. A mail goes to one spelling of an address and covers only what came with that; all spellings of a mailbox
together get at most three mails in any 24 hours. The last of them waits for ten quiet minutes, an hour at most, and
also repeats what was mailed before and is still unconfirmed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

GATHERING: Final = timedelta(minutes=10)
LONGEST_GATHERING: Final = timedelta(hours=1)
DAY: Final = timedelta(hours=24)
MAILS_A_DAY: Final = 3
ACTS_IN_A_MAIL: Final = 50
OTHER_DATA_IN_A_MAIL: Final = 10
"""Buttons of their own in one mail. The rest waits for the next mail: who floods an address gets few buttons a day."""


class Place(NamedTuple):
    """The submission that a delivery is for."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A delivery that is neither confirmed nor withdrawn.

    `mailed` is whether a mail has covered it already. `closes` is the moment from which its campaign takes no more
    confirmations. `address` names the spelling that it came with. `turn` is its number among those from the same
    network.
    """

    place: Place
    campaign: str
    accepted_at: datetime
    closes: datetime
    other_data: bool = False
    mailed: bool = False
    address: bytes | None = None
    turn: int = 1


@dataclass(frozen=True, slots=True)
class History:
    """What was planned for an address before: all `mails` of the last 24 hours, the last mail of each of
    `campaigns`.
    """

    mails: Sequence[datetime] = ()
    campaigns: Mapping[str, datetime] = field(default_factory=dict)


class Plan(NamedTuple):
    """What to do for an address now.

    `cover` is what one mail covers now, nothing if none goes. `expired` can no longer be confirmed. `look_again` is
    when to plan again, None if nothing waits.
    """

    cover: tuple[Pending, ...]
    expired: tuple[Pending, ...]
    look_again: datetime | None


def plan(pending: Sequence[Pending], history: History, now: datetime) -> Plan:
    """Decide for one address at `now`; `pending` are all its deliveries that wait for a confirmation."""
    expired = tuple(one for one in pending if one.closes <= now)
    live = [one for one in pending if one.closes > now]
    waiting = [one for one in live if not one.mailed]
    if not waiting:
        return Plan((), expired, None)
    due = _due(waiting, history, now)
    if due > now:
        return Plan((), expired, due)
    cover = _cover(live if _is_last(history, now) else waiting)
    left = len(waiting) > sum(not one.mailed for one in cover)
    return Plan(cover, expired, now + GATHERING if left else None)


def _due(waiting: Sequence[Pending], history: History, now: datetime) -> datetime:
    recent = _recent(history, now)
    allowed = recent[-MAILS_A_DAY] + DAY if len(recent) >= MAILS_A_DAY else now
    if any(one.campaign not in history.campaigns for one in waiting):
        return allowed
    due = max(min(history.campaigns[one.campaign] for one in waiting) + GATHERING, allowed)
    if _is_last(history, now):
        times = [one.accepted_at for one in waiting]
        due = max(due, min(max(times) + GATHERING, min(times) + LONGEST_GATHERING))
    return due


def _recent(history: History, now: datetime) -> list[datetime]:
    return sorted(time for time in history.mails if time > now - DAY)


def _is_last(history: History, now: datetime) -> bool:
    return len(_recent(history, now)) == MAILS_A_DAY - 1


def _cover(candidates: Sequence[Pending]) -> tuple[Pending, ...]:
    """The new before the repeated, acts before other data for them, one of each network after the other, the older
    before the newer, as far as they fit and came with the same spelling as the first.

    By the turns of networks, who floods an address from one of them is only one place ahead of the person.
    """
    ordered = sorted(candidates, key=lambda one: (one.mailed, one.other_data, one.turn, one.accepted_at, one.place))
    cover: list[Pending] = []
    others = 0
    for one in ordered:
        if len(cover) == ACTS_IN_A_MAIL:
            break
        if one.address != ordered[0].address:
            continue
        if one.other_data:
            if others == OTHER_DATA_IN_A_MAIL:
                continue
            others += 1
        cover.append(one)
    return tuple(cover)

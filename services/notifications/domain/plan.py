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

from shared.kafka.record_ref import RecordRef

GATHER_PERIOD: Final = timedelta(minutes=10)
MAX_GATHER_PERIOD: Final = timedelta(hours=1)
DAY: Final = timedelta(hours=24)
MAX_MAILS_PER_DAY: Final = 3
MAX_ACTS_PER_MAIL: Final = 50
MAX_OTHER_DATA_PER_MAIL: Final = 10
"""Separate buttons in one mail. The rest waits for the next mail, so that a flood of an address yields few buttons a
day.
"""


@dataclass(frozen=True, slots=True)
class UnconfirmedDelivery:
    """A delivery that is neither confirmed nor withdrawn.

    `mailed` says whether a mail has covered it already. From `closes_at` on its campaign takes no more confirmations.
    `address` is the key of the spelling that it came with. `network_rank` numbers the deliveries from one network.
    """

    submission: RecordRef
    campaign: str
    accepted_at: datetime
    closes_at: datetime
    other_data: bool = False
    mailed: bool = False
    address: bytes | None = None
    network_rank: int = 1


@dataclass(frozen=True, slots=True)
class History:
    """Earlier mails to an address: the times of all in the last 24 hours, and the last for each campaign."""

    mail_times: Sequence[datetime] = ()
    last_mail_by_campaign: Mapping[str, datetime] = field(default_factory=dict)


class Plan(NamedTuple):
    """What to do for an address now.

    `covered` goes into one mail now; it is empty if no mail goes. `expired` can no longer be confirmed. `replan_at` is
    when to plan again, None if nothing waits.
    """

    covered: tuple[UnconfirmedDelivery, ...]
    expired: tuple[UnconfirmedDelivery, ...]
    replan_at: datetime | None


def plan_mail(unconfirmed: Sequence[UnconfirmedDelivery], history: History, now: datetime) -> Plan:
    """Plan for one address at `now`, given all its unconfirmed deliveries."""
    expired = tuple(delivery for delivery in unconfirmed if delivery.closes_at <= now)
    open_deliveries = [delivery for delivery in unconfirmed if delivery.closes_at > now]
    unmailed = [delivery for delivery in open_deliveries if not delivery.mailed]
    if not unmailed:
        return Plan((), expired, None)
    due_at = _due_at(unmailed, history, now)
    if due_at > now:
        return Plan((), expired, due_at)
    covered = _choose_covered(open_deliveries if _is_last_of_day(history, now) else unmailed)
    incomplete = len(unmailed) > sum(not delivery.mailed for delivery in covered)
    return Plan(covered, expired, now + GATHER_PERIOD if incomplete else None)


def _due_at(unmailed: Sequence[UnconfirmedDelivery], history: History, now: datetime) -> datetime:
    recent_mails = _recent_mails(history, now)
    allowed_at = recent_mails[-MAX_MAILS_PER_DAY] + DAY if len(recent_mails) >= MAX_MAILS_PER_DAY else now
    if any(delivery.campaign not in history.last_mail_by_campaign for delivery in unmailed):
        return allowed_at
    due_at = max(
        min(history.last_mail_by_campaign[delivery.campaign] for delivery in unmailed) + GATHER_PERIOD, allowed_at
    )
    if _is_last_of_day(history, now):
        times = [delivery.accepted_at for delivery in unmailed]
        due_at = max(due_at, min(max(times) + GATHER_PERIOD, min(times) + MAX_GATHER_PERIOD))
    return due_at


def _recent_mails(history: History, now: datetime) -> list[datetime]:
    return sorted(time for time in history.mail_times if time > now - DAY)


def _is_last_of_day(history: History, now: datetime) -> bool:
    return len(_recent_mails(history, now)) == MAX_MAILS_PER_DAY - 1


def _choose_covered(candidates: Sequence[UnconfirmedDelivery]) -> tuple[UnconfirmedDelivery, ...]:
    """Choose what one mail covers: the first candidate, and as many others of the same spelling as fit.

    New deliveries come before repeated ones, acts before other data, then one of each network in turn, older before
    newer. Because networks take turns, a flood from one of them puts only one delivery ahead of the person's own.
    """
    ordered = sorted(
        candidates,
        key=lambda delivery: (
            delivery.mailed,
            delivery.other_data,
            delivery.network_rank,
            delivery.accepted_at,
            delivery.submission,
        ),
    )
    covered: list[UnconfirmedDelivery] = []
    other_data = 0
    for delivery in ordered:
        if len(covered) == MAX_ACTS_PER_MAIL:
            break
        if delivery.address != ordered[0].address:
            continue
        if delivery.other_data:
            if other_data == MAX_OTHER_DATA_PER_MAIL:
                continue
            other_data += 1
        covered.append(delivery)
    return tuple(covered)

"""When a mail of a mailing goes to an address, and what it covers.

A person's first delivery in a campaign goes at once. What they do in the period after a mail goes together in the next.
A mail goes to one spelling of an address and covers only what came with that; all spellings of a mailbox together get
no more mails in any 24 hours than the daily limit allows. The last of them waits for a quiet period, for a limited
time; where deliveries wait for a confirmation, it also repeats what was mailed before and is still unconfirmed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from shared.kafka.record_ref import RecordRef

DAY: Final = timedelta(hours=24)
NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DailyLimit:
    """At most `mails` mails to one mailbox in any 24 hours. Mailings that name the same limit share it."""

    name: str
    mails: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """How the deliveries of a mailing to one address become mails.

    After a mail, what follows within `period` goes together. The last mail of a day waits until nothing came for as
    long, but no longer than `max_wait`. A mail covers at most `max_acts` deliveries; of those with other data, which
    get a button each, at most `max_other_data`, so that a flood of an address yields few buttons a day.
    `until_confirmed` says that deliveries wait for a confirmation: the last mail of a day repeats them.
    """

    daily_limit: DailyLimit
    period: timedelta
    max_wait: timedelta
    max_acts: int
    max_other_data: int
    until_confirmed: bool = False


class WaitingDelivery(NamedTuple):
    """A delivery that waits for a mail, or for the confirmation that one asked for.

    `record` made it. `address` is the key of the spelling that it came with; `address_gone` says that nothing can be
    delivered there. `mailed` says whether a mail has covered it already. `network_rank` numbers the deliveries of a
    recipient that came from one network, the mailed ones first, then the older. From `expires_at` on it gets no mail.
    """

    recipient: bytes
    record: RecordRef
    address: bytes
    campaign: str
    accepted_at: datetime
    other_data: bool = False
    mailed: bool = False
    network_rank: int = 1
    address_gone: bool = False
    expires_at: datetime = NEVER


@dataclass(frozen=True, slots=True)
class History:
    """Earlier mails to an address: when those under the daily limit went, and the mailing's last in each campaign."""

    mail_times: Sequence[datetime] = ()
    last_mail_by_campaign: Mapping[str, datetime] = field(default_factory=dict)


class Plan(NamedTuple):
    """What to do for an address now.

    `covered` goes into one mail now; it is empty if no mail goes. `expired` gets none any more. `replan_at` is when to
    plan again, None if nothing waits.
    """

    covered: tuple[WaitingDelivery, ...]
    expired: tuple[WaitingDelivery, ...]
    replan_at: datetime | None


def plan_mail(gathering: Gathering, waiting: Sequence[WaitingDelivery], history: History, now: datetime) -> Plan:
    """Plan for one address at `now`, given all deliveries of a mailing that wait there."""
    expired = tuple(delivery for delivery in waiting if delivery.expires_at <= now)
    current = [delivery for delivery in waiting if delivery.expires_at > now]
    unmailed = [delivery for delivery in current if not delivery.mailed]
    if not unmailed:
        return Plan((), expired, None)
    recent_mails = sorted(time for time in history.mail_times if time > now - DAY)
    due_at = _due_at(gathering, unmailed, recent_mails, history, now)
    if due_at > now:
        return Plan((), expired, due_at)
    repeats = gathering.until_confirmed and len(recent_mails) == gathering.daily_limit.mails - 1
    covered = _choose_covered(gathering, current if repeats else unmailed)
    incomplete = len(unmailed) > sum(not delivery.mailed for delivery in covered)
    return Plan(covered, expired, now + gathering.period if incomplete else None)


def _due_at(
    gathering: Gathering,
    unmailed: Sequence[WaitingDelivery],
    recent_mails: Sequence[datetime],
    history: History,
    now: datetime,
) -> datetime:
    limit = gathering.daily_limit.mails
    allowed_at = recent_mails[-limit] + DAY if len(recent_mails) >= limit else now
    if any(delivery.campaign not in history.last_mail_by_campaign for delivery in unmailed):
        return allowed_at
    due_at = max(
        min(history.last_mail_by_campaign[delivery.campaign] for delivery in unmailed) + gathering.period, allowed_at
    )
    if len(recent_mails) == limit - 1:
        times = [delivery.accepted_at for delivery in unmailed]
        due_at = max(due_at, min(max(times) + gathering.period, min(times) + gathering.max_wait))
    return due_at


def _choose_covered(gathering: Gathering, candidates: Sequence[WaitingDelivery]) -> tuple[WaitingDelivery, ...]:
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
            delivery.record,
        ),
    )
    covered: list[WaitingDelivery] = []
    other_data = 0
    for delivery in ordered:
        if len(covered) == gathering.max_acts:
            break
        if delivery.address != ordered[0].address:
            continue
        if delivery.other_data:
            if other_data == gathering.max_other_data:
                continue
            other_data += 1
        covered.append(delivery)
    return tuple(covered)

"""The totals document: what is published of a campaign, put together from sums, freshness and the public record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from services.marathon.domain.cells import MINUTE_S, MINUTES_A_DAY, POLICY_CHANGED
from services.marathon.domain.disclosure import Disclosed, in_steps
from services.marathon.domain.freshness import state_at
from services.marathon.domain.ledger import Head, SourcePartition
from shared.clock import rfc3339
from shared.events.marathon import CampaignChanged, Correction, Policies, TotalsChanged


class RecordedCorrection(NamedTuple):
    """What corrections of one reason, evidence and day came to; `minute` (since 1970) is the last in which they did."""

    reason: str
    evidence: str
    after_freeze: bool
    change: int
    minute: int


class MinuteChange(NamedTuple):
    """What one minute (since 1970) changed for one class of evidence."""

    evidence: str
    minute: int
    change: int


@dataclass(frozen=True, slots=True)
class Sums:
    """All that the document says about numbers, as of one state of the ledger."""

    disclosed: Disclosed
    corrections: Sequence[Correction] = ()
    """The public record."""
    recent: Sequence[MinuteChange] = ()
    heads: Mapping[SourcePartition, Head] = field(default_factory=dict)


def first_document(campaign: CampaignChanged, now: float) -> TotalsChanged:
    """What is published at a campaign's import: nothing counted, true as of `now`."""
    nothing = Disclosed(0, 0, {}, dict.fromkeys(campaign.cases, 0), {}, {}, {}, {}, 0, {})
    return compose(campaign, Sums(nothing), version=1, as_of=now, now=now)


def compose(campaign: CampaignChanged, sums: Sums, *, version: int, as_of: float, now: float) -> TotalsChanged:
    """The document of `campaign`; `as_of` and `now` are seconds since 1970."""
    state, lag = state_at(now, as_of)
    shown = sums.disclosed
    return TotalsChanged(
        campaign=campaign.slug,
        version=version,
        as_of=rfc3339(as_of),
        lag_seconds=lag,
        state=state,
        total=shown.total,
        public_total=shown.public_total,
        goal=campaign.goal,
        by_case=shown.by_case,
        by_country=shown.by_country,
        by_kind=shown.by_kind,
        by_channel=shown.by_channel,
        by_language=shown.by_language,
        by_evidence=shown.by_evidence,
        withdrawn=shown.withdrawn,
        corrections=list(sums.corrections),
        ledger={str(place): head.hash.hex() for place, head in sorted(sums.heads.items()) if head.next},
        rate_per_minute=rate_per_minute(sums.recent, campaign.policies, now),
        by_section=shown.by_section,
    )


def says_the_same(one: TotalsChanged, other: TotalsChanged) -> bool:
    """Whether two documents differ in nothing but how fresh they are."""
    return (
        msgspec.structs.replace(
            one, version=other.version, as_of=other.as_of, lag_seconds=other.lag_seconds, ledger=other.ledger
        )
        == other
    )


def public_record(corrections: Iterable[RecordedCorrection], policies: Policies) -> list[Correction]:
    """The corrections as the public sees them: a line for each reason and day, oldest first.

    In safety mode only public evidence is in the totals. There a reason gets a line of whole steps on the day that
    completes them, so that what the days before left over is not lost, and lines are dated by that day alone: a time
    would move with every single one. What another choice of policies did is told whole: it is the difference of two
    totals that were shown.
    """
    changes: defaultdict[tuple[int, str], int] = defaultdict(int)
    minutes: dict[tuple[int, str], int] = {}
    for correction in corrections:
        if policies.safety_mode and correction.evidence not in {"", *policies.public_evidence}:
            continue
        day = correction.minute // MINUTES_A_DAY
        key = (day, correction.reason)
        changes[key] += correction.change
        minutes[key] = day * MINUTES_A_DAY if policies.safety_mode else max(minutes.get(key, 0), correction.minute)
    if policies.safety_mode:
        changes = _in_whole_steps(changes, policies.public_threshold)
    lines = [(minutes[key], reason, change) for key, change in changes.items() for _, reason in [key]]
    return [
        Correction(at=rfc3339(minute * MINUTE_S), change=change, reason=reason)
        for minute, reason, change in sorted(lines)
        if change
    ]


def _in_whole_steps(changes: Mapping[tuple[int, str], int], step: int) -> defaultdict[tuple[int, str], int]:
    """Changes by day and reason, each with what the days before left over of its reason, cut to `step`.

    Those of policies stay as they are.
    """
    sums: defaultdict[str, int] = defaultdict(int)
    cut: defaultdict[tuple[int, str], int] = defaultdict(int)
    for day, reason in sorted(changes):
        of_reason = 1 if reason == POLICY_CHANGED else step
        before = in_steps(sums[reason], of_reason)
        sums[reason] += changes[day, reason]
        cut[day, reason] = in_steps(sums[reason], of_reason) - before
    return cut


def rate_per_minute(recent: Iterable[MinuteChange], policies: Policies, now: float) -> int:
    """How many public actions the last sixty seconds brought, never less than none.

    This minute's count and as much of the last minute's as lies in those sixty seconds. In safety mode it is not told:
    from the moment at which it falls the count of one minute could be worked out.
    """
    if policies.safety_mode:
        return 0
    this_minute, elapsed = divmod(now, MINUTE_S)
    rate = 0.0
    for change in recent:
        if change.evidence not in policies.public_evidence:
            continue
        if change.minute >= this_minute:
            rate += change.change
        elif change.minute == this_minute - 1:
            rate += change.change * (1 - elapsed / MINUTE_S)
    return max(0, round(rate))

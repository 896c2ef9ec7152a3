"""The totals document, composed of a campaign's sums, freshness and public record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from services.marathon.domain.cells import MINUTE_S, MINUTES_PER_DAY, POLICY_CHANGED
from services.marathon.domain.disclosure import DisclosedTotals, truncate_to_step
from services.marathon.domain.freshness import state_at
from services.marathon.domain.ledger import ChainHead, SourcePartition
from shared.clock import parse_rfc3339, rfc3339
from shared.events.marathon import CampaignChanged, Correction, Policies, TotalsChanged


class RecordedCorrection(NamedTuple):
    """The sum of the corrections of one reason, evidence and day; `minute` (since 1970) is that of the last one."""

    reason: str
    evidence: str
    after_freeze: bool
    change: int
    minute: int


class MinuteChange(NamedTuple):
    """The change of one class of evidence in one minute (since 1970)."""

    evidence: str
    minute: int
    change: int


@dataclass(frozen=True, slots=True)
class Sums:
    """The numbers of the document, as of one state of the ledger."""

    disclosed: DisclosedTotals
    corrections: Sequence[Correction] = ()
    """The public record."""
    recent_minutes: Sequence[MinuteChange] = ()
    heads: Mapping[SourcePartition, ChainHead] = field(default_factory=dict)


def first_document(campaign: CampaignChanged, now: float) -> TotalsChanged:
    """Return the document published when a campaign is imported: nothing counted, true as of `now`."""
    zero = DisclosedTotals(0, 0, {}, dict.fromkeys(campaign.cases, 0), {}, {}, {}, {}, 0, {})
    return compose(campaign, Sums(zero), version=1, as_of=now, now=now)


def compose(campaign: CampaignChanged, sums: Sums, *, version: int, as_of: float, now: float) -> TotalsChanged:
    """Compose the document of `campaign`; `as_of` and `now` are seconds since 1970."""
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
        ledger={str(source): head.hash.hex() for source, head in sorted(sums.heads.items()) if head.next},
        rate_per_minute=rate_per_minute(sums.recent_minutes, campaign.policies, now),
        by_section=shown.by_section,
    )


def next_document(
    before: TotalsChanged, campaign: CampaignChanged, sums: Sums, as_of: float | None, now: float
) -> TotalsChanged:
    """Return the document that follows `before`; its `as_of` never goes back."""
    last = parse_rfc3339(before.as_of)
    latest = last if as_of is None else max(last, as_of)
    return compose(campaign, sums, version=before.version + 1, as_of=latest, now=now)


def with_corrections(before: TotalsChanged, corrections: list[Correction]) -> TotalsChanged:
    """Return a frozen document with its public record brought up to date and nothing else changed."""
    return msgspec.structs.replace(before, version=before.version + 1, corrections=corrections)


def has_same_figures(document: TotalsChanged, other: TotalsChanged) -> bool:
    """Whether two documents differ only in their freshness."""
    return (
        msgspec.structs.replace(
            document, version=other.version, as_of=other.as_of, lag_seconds=other.lag_seconds, ledger=other.ledger
        )
        == other
    )


def public_record(corrections: Iterable[RecordedCorrection], policies: Policies) -> list[Correction]:
    """Return the public corrections: one line for each reason and day, oldest first.

    In safety mode the totals contain only public evidence. A reason then gets a line of whole steps on the day that
    completes them, so that remainders of earlier days are not lost, and lines are dated by the day alone: a time would
    change with every single correction. The effect of a policy change is shown in full: it is the difference of two
    totals that were shown.
    """
    changes: defaultdict[tuple[int, str], int] = defaultdict(int)
    minutes: dict[tuple[int, str], int] = {}
    for correction in corrections:
        if policies.safety_mode and correction.evidence not in {"", *policies.public_evidence}:
            continue
        day = correction.minute // MINUTES_PER_DAY
        key = (day, correction.reason)
        changes[key] += correction.change
        minutes[key] = day * MINUTES_PER_DAY if policies.safety_mode else max(minutes.get(key, 0), correction.minute)
    if policies.safety_mode:
        changes = _truncate_to_steps(changes, policies.public_threshold)
    lines = [(minutes[day, reason], reason, change) for (day, reason), change in changes.items()]
    return [
        Correction(at=rfc3339(minute * MINUTE_S), change=change, reason=reason)
        for minute, reason, change in sorted(lines)
        if change
    ]


def _truncate_to_steps(changes: Mapping[tuple[int, str], int], step: int) -> defaultdict[tuple[int, str], int]:
    """Return the changes by day and reason, each with the remainder of earlier days, truncated to `step`.

    Changes of policies are not truncated.
    """
    sums: defaultdict[str, int] = defaultdict(int)
    truncated: defaultdict[tuple[int, str], int] = defaultdict(int)
    for day, reason in sorted(changes):
        reason_step = 1 if reason == POLICY_CHANGED else step
        before = truncate_to_step(sums[reason], reason_step)
        sums[reason] += changes[day, reason]
        truncated[day, reason] = truncate_to_step(sums[reason], reason_step) - before
    return truncated


def rate_per_minute(recent_minutes: Iterable[MinuteChange], policies: Policies, now: float) -> int:
    """Return the number of public actions in the last sixty seconds, at least 0.

    It is the count of this minute plus the share of the last minute that lies in those sixty seconds. It is 0 in safety
    mode: the moment at which it falls would reveal the count of one minute.
    """
    if policies.safety_mode:
        return 0
    this_minute, elapsed = divmod(now, MINUTE_S)
    rate = 0.0
    for change in recent_minutes:
        if change.evidence not in policies.public_evidence:
            continue
        if change.minute >= this_minute:
            rate += change.change
        elif change.minute == this_minute - 1:
            rate += change.change * (1 - elapsed / MINUTE_S)
    return max(0, round(rate))

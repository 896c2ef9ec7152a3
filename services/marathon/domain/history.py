"""Counts over time, by the minute of acceptance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from services.marathon.domain.disclosure import public_total
from shared.clock import rfc3339
from shared.events.marathon import Policies

Step = Literal["minute", "hour", "day"]
MINUTES: Final[dict[Step, int]] = {"minute": 1, "hour": 60, "day": 24 * 60}
DEFAULT_LENGTH: Final[dict[Step, int]] = {"minute": 180, "hour": 24 * 14, "day": 400}
LONGEST: Final = 1500
"""The most steps of one answer: a day of minutes, two months of hours, four years of days."""


class StepChange(NamedTuple):
    """What the step that begins at `minute` (since 1970) changed for one class of evidence."""

    minute: int
    evidence: str
    change: int


class Point(msgspec.Struct, frozen=True):
    """One step: when it begins (RFC 3339), what it brought, and the total at its end."""

    at: str
    count: int
    total: int


def is_told(policies: Policies) -> bool:
    """Whether the public may see the course of a campaign.

    Not in safety mode: an action is in the minute in which it was accepted, however late it was confirmed or withdrawn,
    so the moment at which a step moved would tell whose it was. Steps of the threshold do not help: one action more
    moves every point behind it.
    """
    return not policies.safety_mode


def points(changes: Iterable[StepChange], policies: Policies, since: int) -> list[Point]:
    """The public course of a campaign from minute `since` on; steps that brought nothing are left out.

    What lies before `since` is in the first total. Not for campaigns in safety mode: see `is_told`.
    """
    by_step: defaultdict[int, list[StepChange]] = defaultdict(list)
    for change in changes:
        by_step[change.minute].append(change)
    counts: defaultdict[str, int] = defaultdict(int)
    course = []
    before = 0
    for minute in sorted(by_step):
        for change in by_step[minute]:
            counts[change.evidence] += change.change
        total = public_total(counts, policies)
        if minute >= since and total != before:
            course.append(Point(rfc3339(minute * 60), total - before, total))
        before = total
    return course

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
STEP_MINUTES: Final[dict[Step, int]] = {"minute": 1, "hour": 60, "day": 24 * 60}
DEFAULT_STEPS: Final[dict[Step, int]] = {"minute": 180, "hour": 24 * 14, "day": 400}
MAX_STEPS: Final = 1500
"""The maximum number of steps of one answer: a day of minutes, two months of hours, four years of days."""


class StepChange(NamedTuple):
    """The change of one class of evidence in the step that begins at `minute` (since 1970)."""

    minute: int
    evidence: str
    change: int


class Point(msgspec.Struct, frozen=True):
    """One step: when it begins (RFC 3339), what it brought, and the total at its end."""

    at: str
    count: int
    total: int


def has_public_history(policies: Policies) -> bool:
    """Whether the history of a campaign is public.

    It is not in safety mode: an action belongs to the minute in which it was accepted, however late it was confirmed or
    withdrawn, so the moment at which a step changed would reveal whose action it was. Steps of the threshold do not
    help: one more action moves every later point.
    """
    return not policies.safety_mode


def points(changes: Iterable[StepChange], policies: Policies, since: int) -> list[Point]:
    """Return the public history of a campaign from minute `since` on, without steps that changed nothing.

    The first total includes everything before `since`. Not for campaigns in safety mode: see `has_public_history`.
    """
    by_step: defaultdict[int, list[StepChange]] = defaultdict(list)
    for change in changes:
        by_step[change.minute].append(change)
    counts: defaultdict[str, int] = defaultdict(int)
    history = []
    before = 0
    for minute in sorted(by_step):
        for change in by_step[minute]:
            counts[change.evidence] += change.change
        total = public_total(counts, policies)
        if minute >= since and total != before:
            history.append(Point(rfc3339(minute * 60), total - before, total))
        before = total
    return history

"""What the clients know: whom they tried, what was acknowledged, how they were answered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

What = Literal["signature", "letter"]


class Act(NamedTuple):
    """One act of one person: people are numbers."""

    what: What
    number: int


@dataclass
class Journal:
    """Kept by the load, read by the checker.

    Everybody in `tried` is tried again until acknowledged; `acknowledged` has their receipts. `answers` counts
    statuses, a connection that was refused or ended as 0. `cut` counts new connections that took a request and ended
    without an answer, `hung` who was connected and never answered, `slowest` is the longest that an answer took, in
    seconds. `bodies` are the distinct bodies of refusals.
    """

    tried: set[Act] = field(default_factory=set)
    acknowledged: dict[Act, str] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0
    hung: int = 0
    cut: int = 0
    slowest: float = 0.0
    bodies: set[bytes] = field(default_factory=set)
    given_up: set[Act] = field(default_factory=set)

    def people(self, what: What) -> int:
        """How many acts of that kind were acknowledged."""
        return sum(act.what == what for act in self.acknowledged)

"""The clients' record of attempts, acknowledgements and responses."""

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
    """Written by the load, read by the checker.

    Every act in `tried` is retried until acknowledged; `acknowledged` has the receipts. `answers` counts statuses, with
    0 for a connection that was refused or ended. `cut` counts new connections that took a request and ended without a
    response, `hung` requests that were never answered; `slowest` is the longest response time, in seconds. `bodies` are
    the distinct bodies of refusals.
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
        """Count the acknowledged acts of the kind `what`."""
        return sum(act.what == what for act in self.acknowledged)

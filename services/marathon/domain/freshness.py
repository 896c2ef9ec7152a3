"""How fresh the totals are: the time as of which they are true.

Source: "Totals: a sum of ranges" in the design of counting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.marathon.domain.ledger import Head, SourcePartition
from shared.clock import parse_rfc3339
from shared.events.words import TotalsState

CATCHING_UP_S: Final = 5.0
FREEZE_AFTER_S: Final = 60.0
"""How long after the last confirmation was due the end of a campaign is read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The end offset of every source partition, as asked for at `at` or later: seconds since 1970 by the broker."""

    at: float
    ends: Mapping[SourcePartition, int]


class Cut(NamedTuple):
    """A log that once ended at `end`, although everything before `next` had been counted from it already."""

    end: int
    next: int

    def __str__(self) -> str:
        return f"the log ends at {self.end}, before the position {self.next}"


class Freshness:
    """Remembers when each source partition was last seen complete, and whose log lost what was counted.

    `counted` are the heads before the first reading.
    """

    def __init__(self, counted: Mapping[SourcePartition, Head]) -> None:
        self._counted = counted
        self._complete: dict[SourcePartition, float] = {}
        self.cut: dict[SourcePartition, Cut] = {}

    def as_of(self, reading: Reading, heads: Mapping[SourcePartition, Head]) -> float | None:
        """Seconds since 1970 as of which a sum over `heads`, read after `reading`, is true.

        A partition with nothing missing is true as of the reading, another as of the later of its last complete
        reading and its last counted record; the least of them holds. None where nothing is known of some partition.
        """
        times = []
        for place, end in reading.ends.items():
            head = heads.get(place, Head())
            self._compare(place, end, head)
            if head.next >= end and place not in self.cut:
                self._complete[place] = reading.at
            times.append(self._true_as_of(place, head))
        self._counted = heads
        known = [time for time in times if time is not None]
        return min(known) if known and len(known) == len(times) else None

    def _compare(self, place: SourcePartition, end: int, head: Head) -> None:
        """Note whether the log of `place` still holds what had been counted of it before its end was read.

        What is appended to a log that was cut makes it look whole, until something more is counted of it: the counter
        compares the log with what it counted before it goes on.
        """
        counted = self._counted.get(place, Head()).next
        if end < counted:
            self.cut[place] = Cut(end, counted)
        elif place in self.cut and head.next > self.cut[place].next:
            del self.cut[place]

    def _true_as_of(self, place: SourcePartition, head: Head) -> float | None:
        complete = self._complete.get(place)
        counted = parse_rfc3339(head.accepted_until) if head.accepted_until is not None else None
        if complete is None or counted is None:
            return counted if complete is None else complete
        return max(complete, counted)


def state_at(now: float, as_of: float) -> tuple[TotalsState, float]:
    """The state of totals that are true as of `as_of`, and their lag in seconds, at `now`."""
    lag = max(0.0, now - as_of)
    return ("catching_up" if lag > CATCHING_UP_S else "live"), round(lag, 3)


def reached(ends: Mapping[SourcePartition, int], heads: Mapping[SourcePartition, Head]) -> bool:
    """Whether everything below `ends` is in the ledger."""
    return all(heads.get(place, Head()).next >= end for place, end in ends.items())

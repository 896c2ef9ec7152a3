"""Freshness of the totals: the time as of which they are true.

Source: "Totals: a sum of ranges" in the design of counting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.marathon.domain.ledger import ChainHead, SourcePartition
from shared.clock import parse_rfc3339
from shared.events.values import TotalsState

CATCHING_UP_AFTER_S: Final = 5.0
FREEZE_AFTER_S: Final = 60.0
"""How long after the deadline for confirmations the end offsets of a campaign are read."""


@dataclass(frozen=True, slots=True)
class EndOffsets:
    """The end offset of every source partition, read at `read_at` (seconds since 1970, broker's clock) or later."""

    read_at: float
    offsets: Mapping[SourcePartition, int]


class TruncatedLog(NamedTuple):
    """A log that once ended at `end`, although all records before `next` had already been counted."""

    end: int
    next: int

    def __str__(self) -> str:
        return f"the log ends at {self.end}, before the position {self.next}"


class Freshness:
    """Tracks when each source partition was last completely counted, and which logs lost counted records.

    `heads` are those before the first reading of end offsets.
    """

    def __init__(self, heads: Mapping[SourcePartition, ChainHead]) -> None:
        self._previous_heads = heads
        self._complete_at: dict[SourcePartition, float] = {}
        self.truncated: dict[SourcePartition, TruncatedLog] = {}

    def as_of(self, end_offsets: EndOffsets, heads: Mapping[SourcePartition, ChainHead]) -> float | None:
        """Return the time as of which a sum over `heads`, read after `end_offsets`, is true: seconds since 1970.

        A complete partition is true as of the reading, any other as of its last complete reading or its last counted
        record, whichever is later; the result is the earliest of these times. None if there is no time for some
        partition.
        """
        times = []
        for source, end in end_offsets.offsets.items():
            head = heads.get(source, ChainHead())
            self._check_truncation(source, end, head)
            if head.next >= end and source not in self.truncated:
                self._complete_at[source] = end_offsets.read_at
            times.append(self._true_as_of(source, head))
        self._previous_heads = heads
        dated = [time for time in times if time is not None]
        return min(dated) if dated and len(dated) == len(times) else None

    def _check_truncation(self, source: SourcePartition, end: int, head: ChainHead) -> None:
        """Record whether the log of `source` still holds the records that were counted before its end was read.

        New records make a truncated log look complete again, so it counts as mended only once more of it is counted:
        the counter compares the log with what it has counted before it goes on.
        """
        counted_to = self._previous_heads.get(source, ChainHead()).next
        if end < counted_to:
            self.truncated[source] = TruncatedLog(end, counted_to)
        elif source in self.truncated and head.next > self.truncated[source].next:
            del self.truncated[source]

    def _true_as_of(self, source: SourcePartition, head: ChainHead) -> float | None:
        complete = self._complete_at.get(source)
        counted = parse_rfc3339(head.accepted_until) if head.accepted_until is not None else None
        if complete is None or counted is None:
            return counted if complete is None else complete
        return max(complete, counted)


def state_at(now: float, as_of: float) -> tuple[TotalsState, float]:
    """Return the state at `now` of totals that are true as of `as_of`, and their lag in seconds."""
    lag = max(0.0, now - as_of)
    return ("catching_up" if lag > CATCHING_UP_AFTER_S else "live"), round(lag, 3)


def has_reached(end_offsets: Mapping[SourcePartition, int], heads: Mapping[SourcePartition, ChainHead]) -> bool:
    """Whether the ledger contains everything below `end_offsets`."""
    return all(heads.get(source, ChainHead()).next >= end for source, end in end_offsets.items())

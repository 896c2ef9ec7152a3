"""The limit of dead letters: a partition of which too many records are refused halts, so that a bad deploy does not
empty a topic into its dead letters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from shared.errors import HaltError
from shared.kafka.records import PartitionBatch

MAX_IN_A_ROW: Final = 50
WINDOW_RECORDS: Final = 10_000
MAX_IN_WINDOW: Final = WINDOW_RECORDS // 20
"""5% of a window. Fewer than that are what strangers and old clients send; more have one cause."""


@dataclass(slots=True)
class _Recent:
    """What became of the last records of one partition."""

    in_a_row: int = 0
    records: int = 0
    refused: int = 0
    batches: deque[tuple[int, int]] = field(default_factory=deque)
    """Records and refused records of each batch in the window, the oldest first."""


class RefusalLimit:
    """Watches the refused records of the partitions of one process. An operator may do without it (`enabled`)."""

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._recent: dict[tuple[str, int], _Recent] = {}

    def check(self, batch: PartitionBatch, refused: Collection[int]) -> None:
        """Refuse to commit a batch by which its partition goes beyond the limit. `refused` are offsets of the batch.

        Raises:
            HaltError: over 50 records in a row, or over 5% of the last 10,000, cannot be read.
        """
        if not refused or not self._enabled:
            return
        recent = self._recent.get((batch.topic, batch.partition), _Recent())
        if _longest_run(batch, refused, recent.in_a_row) > MAX_IN_A_ROW:
            raise HaltError(f"over {MAX_IN_A_ROW} records in a row are refused, the last at {max(refused)}")
        if recent.refused + len(refused) > MAX_IN_WINDOW:
            raise HaltError(f"over {MAX_IN_WINDOW} of the last {WINDOW_RECORDS} records are refused")

    def note(self, batch: PartitionBatch, refused: Collection[int]) -> None:
        """Remember a committed batch."""
        recent = self._recent.setdefault((batch.topic, batch.partition), _Recent())
        recent.in_a_row = _last_run(batch, refused, recent.in_a_row)
        recent.batches.append((len(batch.records), len(refused)))
        recent.records += len(batch.records)
        recent.refused += len(refused)
        while recent.records - recent.batches[0][0] >= WINDOW_RECORDS:
            records, oldest_refused = recent.batches.popleft()
            recent.records -= records
            recent.refused -= oldest_refused


def _longest_run(batch: PartitionBatch, refused: Collection[int], before: int) -> int:
    """The most refused records in a row, `before` of which precede the batch."""
    longest, run, previous = 0, before, batch.first_offset - 1
    for offset in sorted(refused):
        run = run + 1 if offset == previous + 1 else 1
        longest, previous = max(longest, run), offset
    return longest


def _last_run(batch: PartitionBatch, refused: Collection[int], before: int) -> int:
    """How many records in a row are refused at the end of the batch."""
    offset = batch.next_offset - 1
    while offset >= batch.first_offset and offset in refused:
        offset -= 1
    run = batch.next_offset - 1 - offset
    return before + run if run == len(batch.records) else run

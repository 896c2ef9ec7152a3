"""The plan of one counting transaction, prepared without the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.counting.dimension_ids import IdByCombination
from shared.counting.event_decoder import DecodedRecord, SubmissionRecord
from shared.counting.fold import Outcome
from shared.counting.projections import ChangeKind
from shared.counting.transitions import State
from shared.kafka.records import PartitionBatch, Record

Cell = tuple[int, int, State, int]
"""The partition, dimensions, state and minute that a new row counts under."""


class TrackedSubmission(NamedTuple):
    """A plain submission that a projection may ask for."""

    partition: int
    offset: int
    digest: bytes
    submission: SubmissionRecord

    @property
    def kinds(self) -> tuple[ChangeKind, ...]:
        """The changes that it makes by opening its action."""
        return ("opened",) if self.submission.confirmed_at is None else ("opened", "confirmed")


@dataclass(slots=True)
class BatchPlan:
    """What to write for `batches`; `ids` has all the combinations of dimensions that occur in them.

    A key that exactly one record of the batches names, a plain submission, is a fast key. `fast_keys` has its index in
    the lists `fast_records` (with their partitions), `cells`, `new_rows` and `submission_rows` (both packed).
    All other records are `slow_records`, sorted by partition and offset once the plan is complete, with `slow_keys`.
    """

    batches: Sequence[PartitionBatch]
    ids: IdByCombination
    fast_keys: dict[bytes, int] = field(default_factory=dict)
    fast_records: list[tuple[int, Record]] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    new_rows: list[bytes] = field(default_factory=list)
    submission_rows: list[bytes] = field(default_factory=list)
    tracked: dict[bytes, TrackedSubmission] = field(default_factory=dict)
    """The submissions that a projection selects. To keep all confirmed ones would cost a tenth of counting."""
    slow_records: list[DecodedRecord] = field(default_factory=list)
    slow_keys: set[bytes] = field(default_factory=set)
    refused: Mapping[int, Collection[int]] = field(default_factory=dict)
    """The offsets that are refused for the first time, by partition; set when the plan is written."""
    new_count: int = 0
    """How many of the fast keys had no row yet; set when the plan is written."""
    outcome: Outcome = field(default_factory=Outcome)
    """The result of the fold of all other records; set when the plan is written."""

    def demote(self, key: bytes) -> tuple[int, Record] | None:
        """Remove `key` from the fast keys and return its partition and record, or None if it is not one of them."""
        index = self.fast_keys.pop(key, None)
        if index is None:
            return None
        self.new_rows[index] = self.submission_rows[index] = b""
        self.tracked.pop(key, None)
        return self.fast_records[index]

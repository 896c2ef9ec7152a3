"""What a transaction of counting has to do, made ready without the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.counting.dimension_ids import Ids
from shared.counting.event_decoder import KEY_BYTES, Origin, SubmissionRecord
from shared.counting.fold import InputRecord, Outcome
from shared.counting.transitions import FollowUpType, State
from shared.kafka.records import PartitionBatch, Record

Cell = tuple[int, int, State, int]
"""Where something counts: partition, dimensions, state and minute of acceptance."""


class DecodedRecord(NamedTuple):
    """What a record says.

    A `submission` with its digest; or that something happened (`then`) to the submission of that digest; or nothing
    that can be understood (`refusal`). `origin` is set where it was redriven.
    """

    partition: int
    record: Record
    submission: SubmissionRecord | None = None
    digest: bytes = b""
    follow_up: FollowUpType | None = None
    origin: Origin | None = None
    refusal: str = ""

    @property
    def key(self) -> bytes:
        """The dedupe key; empty where the record has none that could be one."""
        key = self.record.key
        return key if key is not None and len(key) == KEY_BYTES else b""

    @property
    def accepted_ms(self) -> int:
        """When it was accepted, by the broker's clock; of a redriven record, when it was accepted first."""
        return self.origin.timestamp_ms if self.origin else self.record.timestamp_ms


@dataclass(slots=True)
class BatchPlan:
    """What there is to do for `batches`; `ids` has all the combinations of dimensions that occur in them.

    `singles` are the keys that a single usual record names, each with its place in the lists `records` (with their
    partitions), `cells`, `rows` and `kept` (packed rows). What else there is, is `special`, in order of partition and
    offset once everything is read; `shared` are its keys.
    """

    batches: Sequence[PartitionBatch]
    ids: Ids
    singles: dict[bytes, int] = field(default_factory=dict)
    records: list[tuple[int, Record]] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)
    named: dict[bytes, bytes] = field(default_factory=dict)
    """The digests of singles that are confirmed and let their name be shown."""
    special: list[DecodedRecord] = field(default_factory=list)
    shared: set[bytes] = field(default_factory=set)
    fresh: int = 0
    """How many of the singles were new."""
    outcome: Outcome = field(default_factory=Outcome)
    """What the fold of everything else did."""

    def take_back(self, key: bytes) -> tuple[int, Record] | None:
        """Undo that `key` is single, if it is; returns its record."""
        place = self.singles.pop(key, None)
        if place is None:
            return None
        self.rows[place] = self.kept[place] = b""
        self.named.pop(key, None)
        return self.records[place]


def decoded(one: InputRecord) -> DecodedRecord:
    """What a record said that came through `Reader.arrived`."""
    assert one.decoded is not None  # noqa: S101  it set it
    return one.decoded

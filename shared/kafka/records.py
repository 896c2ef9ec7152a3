"""Records as the loops hand them on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Record(NamedTuple):
    """One Kafka record. `timestamp_ms` is the broker's time where the topic says so."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class PartitionBatch(NamedTuple):
    """Consecutive records of one partition, ascending; never empty. `epoch` is that of the partition's position."""

    topic: str
    partition: int
    epoch: int
    records: Sequence[Record]

    @property
    def first(self) -> int:
        """The offset of the first record."""
        return self.records[0].offset

    @property
    def next(self) -> int:
        """The offset behind the last record."""
        return self.records[-1].offset + 1

"""The parts and findings of an audit. Nothing here holds a key: a key may stand for a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from shared import topics


class Source(NamedTuple):
    """A counted topic, the service whose database holds its rows, and their table."""

    topic: str
    service: str
    table: str

    @property
    def group(self) -> str:
        """The consumer group of its counters."""
        return f"{self.service}.count-{self.table}"


SOURCES: Final = (
    Source(topics.SIGNATURES.name, "petitions", "signatures"),
    Source(topics.ACTS.name, "petitions", "acts"),
    Source(topics.MESSAGES.name, "letters", "messages"),
)


class Partition(NamedTuple):
    """One partition of a counted topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Cell(NamedTuple):
    """One combination of dimensions that is counted by itself."""

    campaign: str
    case: str
    section: str | None
    kind: str
    channel: str
    country: str
    language: str
    evidence: str


@dataclass(slots=True)
class PartitionReport:
    """The checks of one partition.

    It was counted up to `next`, and has `rows` rows of which `counted` count. Offsets from `start` to before `end` were
    compared with the log, which has `submitted` records of `keys` keys there.
    """

    next: int
    rows: int = 0
    counted: int = 0
    ledger: int | None = None
    start: int = 0
    end: int = 0
    submitted: int = 0
    keys: int = 0


@dataclass(slots=True)
class AuditReport:
    """The findings of the whole audit; `differences` is empty where everything agrees."""

    partitions: dict[Partition, PartitionReport] = field(default_factory=dict)
    ledger_rows: int = 0
    campaigns: dict[str, int] = field(default_factory=dict)
    """The total of every campaign, from the ledger."""
    declared: list[str] = field(default_factory=list)
    """Ranges of which the ledger has only what a person declared."""
    differences: list[str] = field(default_factory=list)

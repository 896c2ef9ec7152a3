"""Tally batches: what counting a range of offsets changed, as other services are told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from shared.clock import rfc3339
from shared.counting.counted_topic import CountedTopic
from shared.counting.dimension_ids import Combination
from shared.counting.transitions import Change
from shared.events.cloudevents import Envelope
from shared.events.tallies import ActionsCounted, Delta
from shared.events.words import Channel, Evidence, Kind
from shared.kafka.outbox import OutboxRecord
from shared.kafka.records import PartitionBatch

DELTAS_A_PART: Final = 2_000
"""So many deltas leave in one part, far below what a record may hold."""

_encode = msgspec.json.Encoder().encode


class _Cell(NamedTuple):
    campaign: str
    case: str
    section: str | None
    kind: Kind
    channel: Channel
    country: str
    language: str
    evidence: Evidence
    minute: int


class TallyBatches:
    """Makes the tally batches of one counted topic."""

    def __init__(self, counted: CountedTopic) -> None:
        self._counted = counted
        self._envelope = Envelope("actions-counted", source=f"/{counted.topic.owner}/counter")

    def of_batch(
        self, batch: PartitionBatch, changes: Iterable[Change], combinations: Mapping[int, Combination], now: float
    ) -> list[OutboxRecord]:
        """The parts of the tally batch of `batch`, one with no deltas where nothing changed."""
        deltas = _deltas(changes, combinations)
        parts = [deltas[at : at + DELTAS_A_PART] for at in range(0, len(deltas), DELTAS_A_PART)] or [[]]
        return [self._record(batch, part, (number, len(parts)), now) for number, part in enumerate(parts)]

    def _record(self, batch: PartitionBatch, deltas: list[Delta], part: tuple[int, int], now: float) -> OutboxRecord:
        counted = ActionsCounted(
            source=batch.topic,
            epoch=batch.epoch,
            partition=batch.partition,
            first=batch.first,
            next=batch.next,
            part=part[0],
            parts=part[1],
            counted_at=rfc3339(now),
            accepted_until=rfc3339(batch.records[-1].timestamp_ms / 1000),
            deltas=deltas,
        )
        return self.outbox_record(counted)

    def outbox_record(self, counted: ActionsCounted) -> OutboxRecord:
        """`counted` as a record of the tally topic."""
        return OutboxRecord(
            self._counted.tallies.name,
            counted.partition % self._counted.tallies.partitions,
            f"{counted.source}/{counted.partition}".encode(),
            self._envelope.headers(counted.counted_at.encode()),
            _encode(counted),
        )


def _deltas(changes: Iterable[Change], combinations: Mapping[int, Combination]) -> list[Delta]:
    """The sum of `changes` by cell, in a fixed order; cells in which nothing happened are left out."""
    sums: defaultdict[_Cell, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for dimensions, evidence, minute, *amounts in changes:
        of = combinations[dimensions]
        cell = _Cell(of.campaign, of.case, of.section, of.kind, of.channel, of.country, of.language, evidence, minute)
        total = sums[cell]
        for index, amount in enumerate(amounts):
            total[index] += amount
    return [_delta(cell, total) for cell, total in sorted(sums.items(), key=_order) if any(total)]


def _order(item: tuple[_Cell, Sequence[int]]) -> tuple[str, ...]:
    return tuple(str(part) for part in item[0])


def _delta(cell: _Cell, total: Sequence[int]) -> Delta:
    change, withdrawn, invalidated, reinstated = total
    return Delta(
        campaign=cell.campaign,
        case=cell.case,
        section=cell.section,
        kind=cell.kind,
        channel=cell.channel,
        country=cell.country,
        language=cell.language,
        evidence=cell.evidence,
        minute=cell.minute,
        change=change,
        withdrawn=withdrawn,
        invalidated=invalidated,
        reinstated=reinstated,
    )

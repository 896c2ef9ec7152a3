"""Tally batches: the changes of the totals by counting a range of offsets, published to other services."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from shared.clock import rfc3339
from shared.counting.counted_topic import CountedTopic
from shared.counting.dimension_ids import Combination
from shared.counting.transitions import Change
from shared.events.cloudevents import Envelope
from shared.events.tallies import ActionsCounted, Delta
from shared.kafka.outbox import OutboxRecord
from shared.kafka.records import PartitionBatch

MAX_DELTAS_PER_PART: Final = 2_000
"""Far below the size of the largest record."""

_CELL: Final = (
    "campaign", "case", "section", "kind", "channel", "country", "language", "evidence", "minute", "reason",
)  # fmt: skip
_AMOUNTS: Final = ("change", "withdrawn", "invalidated", "reinstated", "held")

_encode = msgspec.json.Encoder().encode


class TallyBatchBuilder:
    """Builds the tally batches of one counted topic."""

    def __init__(self, counted: CountedTopic) -> None:
        self._counted = counted
        self._envelope = Envelope("actions-counted", source=f"/{counted.topic.owner}/counter", version="1.1")

    def build(
        self, batch: PartitionBatch, changes: Iterable[Change], combinations: Mapping[int, Combination], now: float
    ) -> list[OutboxRecord]:
        """Build the parts of the tally batch of `batch`: one without deltas if nothing changed."""
        deltas = _deltas(changes, combinations)
        parts = [deltas[at : at + MAX_DELTAS_PER_PART] for at in range(0, len(deltas), MAX_DELTAS_PER_PART)] or [[]]
        return [self._record(batch, part, (number, len(parts)), now) for number, part in enumerate(parts)]

    def _record(self, batch: PartitionBatch, deltas: list[Delta], part: tuple[int, int], now: float) -> OutboxRecord:
        counted = ActionsCounted(
            source=batch.topic,
            epoch=batch.epoch,
            partition=batch.partition,
            first=batch.first_offset,
            next=batch.next_offset,
            part=part[0],
            parts=part[1],
            counted_at=rfc3339(now),
            accepted_until=rfc3339(batch.records[-1].timestamp_ms / 1000),
            deltas=deltas,
        )
        return self.outbox_record(counted)

    def outbox_record(self, counted: ActionsCounted) -> OutboxRecord:
        """Make the record of the tally topic."""
        return OutboxRecord(
            self._counted.tallies.name,
            counted.partition % self._counted.tallies.fixed_partition_count,
            f"{counted.source}/{counted.partition}".encode(),
            self._envelope.headers(counted.counted_at.encode()),
            _encode(counted),
        )


def _deltas(changes: Iterable[Change], combinations: Mapping[int, Combination]) -> list[Delta]:
    """The sums of `changes` by cell, in a fixed order, without cells whose sums are all 0."""
    sums: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(_AMOUNTS))
    for dimensions, evidence, minute, *amounts, reason in changes:
        campaign, case, _, *others = combinations[dimensions]
        totals = sums[campaign, case, *others, evidence, minute, reason]
        for index, amount in enumerate(amounts):
            totals[index] += amount
    return [
        Delta(**dict(zip(_CELL + _AMOUNTS, (*cell, *totals), strict=True)))
        for cell, totals in sorted(sums.items(), key=lambda item: tuple(map(str, item[0])))
        if any(totals)
    ]

"""Where a loop reads: each assigned partition is placed by its position in PostgreSQL before any of it is processed.

aiokafka calls a rebalance listener while it already fetches, and swallows what it raises; so the loop itself places
partitions, and every record it processes must be the next one of a placed partition.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError

from shared.errors import HaltError
from shared.kafka.positions import Position, digest, read_position
from shared.kafka.records import PartitionBatch, Record, read_records
from shared.logging import log
from shared.metrics import PARTITION_HALTED

FULL_BATCH: Final = 10_000
"""About as many records as one fetch brings."""
MUCH: Final = 4_000
"""From so many records on, a transaction for each share of them is still worth its commit."""
CAREFUL_AFTER: Final = 3
"""From so many processes that died on the same records on, fewer are taken at once: 1,000, 100, 10, then one."""
BOOTSTRAP: Final = "bootstrap"
"""How aiokafka names its connection for finding the brokers."""
POISON_AFTER: Final = 3
"""A single record on which so many processes died is never tried again."""


@dataclass(slots=True)
class PartitionCursor:
    """A placed partition.

    `next` is the offset of the next record to be read, `check` the digest of the one before where that is still to be
    compared; up to `careful_until` lie the records that earlier processes may have died of.
    """

    position: Position
    next: int
    check: bytes | None
    careful_until: int
    tried: bool = False

    @property
    def batch_limit(self) -> int:
        """How many records to take at once."""
        return _limit(self.position.attempts if self.next <= self.careful_until else 0)

    @property
    def careful(self) -> bool:
        """Whether fewer records than usual are taken at once."""
        return self.batch_limit < FULL_BATCH


def _limit(deaths: int) -> int:
    """How many records to take at once after so many deaths."""
    return max(1, FULL_BATCH // int(10 ** max(0, deaths - CAREFUL_AFTER + 1)))


_ALONE_FROM: Final = next(deaths for deaths in itertools.count() if _limit(deaths) == 1)


@dataclass(slots=True)
class Assignments:
    """The places of one loop. A halted partition stays so until it is assigned anew."""

    consumer: AIOKafkaConsumer
    cursors: dict[TopicPartition, PartitionCursor] = field(default_factory=dict)
    halted: dict[TopicPartition, str] = field(default_factory=dict)
    generation: int = 0
    assigned: bool = False
    _connections: dict[object, object] = field(default_factory=dict)

    def reassigned(self) -> None:
        """Know nothing any more: the group has dealt the partitions anew, or is about to."""
        self.generation += 1
        self.cursors.clear()
        for tp in self.halted:
            PARTITION_HALTED.labels(tp.topic, tp.partition).set(0)
        self.halted.clear()

    def forget(self) -> None:
        """Place every partition again before anything more is processed."""
        self.generation += 1
        self.cursors.clear()

    @property
    def careful(self) -> bool:
        """Whether anything is taken with care now."""
        return any(place.careful for place in self.cursors.values())

    def portions(self, batches: Sequence[PartitionBatch], shares: int) -> list[list[PartitionBatch]]:
        """What to take at once: everything, or of much the partitions of each of `shares` in turn.

        With care each partition is taken by itself, so that it dies alone.
        """
        if any(place.careful for batch in batches if (place := self._of(batch))):
            return [[batch] for batch in batches]
        if shares == 1 or sum(len(batch.records) for batch in batches) < MUCH:
            return [list(batches)]
        share_of = {tp: rank % shares for rank, tp in enumerate(sorted(self.cursors))}
        dealt: list[list[PartitionBatch]] = [[] for _ in range(shares)]
        for batch in batches:
            dealt[share_of[TopicPartition(batch.topic, batch.partition)]].append(batch)
        return [portion for portion in dealt if portion]

    def must_note(self, batch: PartitionBatch) -> bool:
        """Whether a process that dies of `batch` has to leave a trace."""
        place = self._of(batch)
        return place is not None and (place.careful or not place.tried)

    def noted(self, batches: Sequence[PartitionBatch]) -> None:
        """The trace of `batches` is left."""
        for batch in batches:
            if place := self._of(batch):
                place.tried = True

    def poisoned(self, batch: PartitionBatch) -> bool:
        """Whether the one record of `batch` has ended too many processes."""
        place = self._of(batch)
        if place is None or place.tried:
            return False
        # Deaths with more records in hand say nothing about this one.
        alone = min(place.position.stuck, place.position.attempts - _ALONE_FROM)
        return place.batch_limit == 1 and alone >= POISON_AFTER

    def attempts_after(self, batch: PartitionBatch) -> int:
        """How many deaths to remember once `batch` is written: those of the records still to be taken with care."""
        place = self._of(batch)
        return place.position.attempts if place is not None and place.careful else 0

    def _of(self, batch: PartitionBatch) -> PartitionCursor | None:
        return self.cursors.get(TopicPartition(batch.topic, batch.partition))

    def to_seek(self) -> list[TopicPartition]:
        """The assigned partitions that have to be placed."""
        return sorted(self.consumer.assignment() - self.cursors.keys() - self.halted.keys())

    def halt(self, tp: TopicPartition, reason: str) -> None:
        """Stop reading `tp` and alarm."""
        self.cursors.pop(tp, None)
        self.halted[tp] = reason
        PARTITION_HALTED.labels(tp.topic, tp.partition).set(1)
        log.error("partition halted", topic=tp.topic, partition=tp.partition, reason=reason)
        with suppress(IllegalStateError):
            # A partition without any position, paused or not, would fail whatever is asked of the consumer.
            self.consumer.seek(tp, 0)
            self.consumer.pause(tp)

    def connection_was_lost(self) -> bool:
        """Whether since the last call a broker connection that records come through was opened or lost.

        Behind a new connection may be another log: a broker that was wiped, an older copy restored.
        """
        connections = self.consumer._client._conns  # noqa: SLF001  aiokafka tells nobody else
        now = {
            node: connection for (node, group), connection in connections.items() if group == 0 and node != BOOTSTRAP
        }
        changed = now != self._connections
        self._connections = now
        return changed

    async def seek_to_positions(self, connection: asyncpg.Connection, partitions: Sequence[TopicPartition]) -> None:
        """Seek each of `partitions` to its position, or halt it where the log does not reach from before to behind it.

        Raises:
            KafkaError: the broker does not answer.
            SetupError: a partition has no position.
        """
        generation = self.generation
        # Before the ends: a position that another member moves meanwhile would lie behind an end that was read earlier.
        positions = {tp: await read_position(connection, tp.topic, tp.partition) for tp in partitions}
        starts = await self.consumer.beginning_offsets(partitions)
        ends = await self.consumer.end_offsets(partitions)
        if generation != self.generation:
            return
        for tp, position in positions.items():
            if position.next < starts[tp]:
                self.halt(tp, f"the log starts at {starts[tp]}, behind the position {position.next}")
            elif position.next > ends[tp]:
                self.halt(tp, f"the log ends at {ends[tp]}, before the position {position.next}")
            else:
                self._seek(tp, position, starts[tp])

    def _seek(self, tp: TopicPartition, position: Position, start: int) -> None:
        # Where retention took everything before the position there is nothing to compare.
        check = position.digest if position.next > start else None
        try:
            self.consumer.seek(tp, position.next)
            self.consumer.pause(tp)
        except IllegalStateError:
            return
        # The last process to die had no more than this in hand; behind it lies nothing that anybody died of.
        suspect = _limit(position.attempts - 1)
        self.cursors[tp] = PartitionCursor(position, position.next, check, careful_until=position.next + suspect)

    def next_offsets(self) -> dict[TopicPartition, int]:
        """The offset to read next, of each placed partition."""
        return {tp: place.next - 1 if place.check else place.next for tp, place in self.cursors.items()}

    def accept(self, tp: TopicPartition, fetched: bytes) -> PartitionBatch | None:
        """The records to process of what was `fetched`, None where there are none; then the place is behind them.

        Raises:
            TransientError: it was damaged on the way.
        """
        place = self.cursors.get(tp)
        if place is None:
            return None
        try:
            records = read_records(fetched, self.next_offsets()[tp])
        except HaltError as error:
            self.halt(tp, str(error))
            return None
        if not self._compared(tp, place, records):
            return None
        records = records[: place.batch_limit] if place.careful else records
        if records[-1].offset - place.next != len(records) - 1:
            self.halt(tp, f"records are missing between {place.next} and {records[-1].offset}")
            return None
        place.next = records[-1].offset + 1
        return PartitionBatch(tp.topic, tp.partition, place.position.epoch, records)

    def _compared(self, tp: TopicPartition, place: PartitionCursor, records: list[Record]) -> bool:
        """Compare the first of `records` where that is still to be done, and take it out; whether any are left."""
        if place.check is None or not records:
            return bool(records)
        if records[0].offset != place.next - 1:
            self.halt(tp, f"the record at {place.next - 1} is missing")
            return False
        if digest(records[0]) != place.check:
            self.halt(tp, f"the record at {place.next - 1} is not the one that was counted")
            return False
        place.check = None
        del records[0]
        return bool(records)

"""The partitions of a loop: each assigned partition is sought to its position in PostgreSQL before it is processed.

aiokafka calls a rebalance listener while it already fetches, and swallows its errors; so the loop itself seeks, and
every record that it processes must be the next one of a partition with a cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError

from shared.errors import HaltError
from shared.kafka.positions import Position, digest, read_position
from shared.kafka.records import Batches, PartitionBatch, Record, read_records
from shared.logging import log
from shared.metrics import PARTITION_HALTED

MAX_BATCH_RECORDS: Final = 10_000
"""More records than one fetch brings."""
MAX_SINGLE_RECORDS: Final = 500
"""So many records at most are taken one by one before the loop shows its group again that it is alive."""
MIN_SPLIT_RECORDS: Final = 4_000
"""From so many records on, a transaction for each share of them is worth its commit."""
MIN_DEATHS_TO_SUSPECT: Final = 3
"""After so many deaths at one position, the records that the dead processes may have had in hand are taken one by one.
"""
MIN_DEATHS_TO_POISON: Final = 2
"""A single record on which so many processes died is never tried again."""
BOOTSTRAP_NODE: Final = "bootstrap"
"""aiokafka's name of the connection that finds the brokers."""


@dataclass(slots=True)
class PartitionCursor:
    """The cursor of an assigned partition.

    `next_offset` is that of the next record to read, `previous_digest` the digest of the record before it until they
    have been compared. Earlier processes may have died of records before `suspects_end`: each batch of these has a
    mark and a transaction of its own, and with `one_by_one` each record. `marked`: the first batch has its mark.
    """

    position: Position
    next_offset: int
    previous_digest: bytes | None
    suspects_end: int = 0
    one_by_one: bool = False
    marked: bool = False

    @property
    def batch_limit(self) -> int:
        """How many records the next batch may have."""
        remaining = self.suspects_end - self.next_offset
        return min(MAX_SINGLE_RECORDS, remaining) if self.one_by_one and remaining > 0 else MAX_BATCH_RECORDS


@dataclass(slots=True)
class Assignments:
    """The assigned partitions of one loop of `group`. A halted partition stays so until it is assigned again."""

    consumer: AIOKafkaConsumer
    group: str
    cursors: dict[TopicPartition, PartitionCursor] = field(default_factory=dict)
    halted: dict[TopicPartition, str] = field(default_factory=dict)
    generation: int = 0
    assigned: bool = False
    _connections: dict[object, object] = field(default_factory=dict)

    def on_rebalance(self) -> None:
        """Drop all cursors and halts: the group has reassigned the partitions, or is about to."""
        self.generation += 1
        self.cursors.clear()
        for tp in self.halted:
            PARTITION_HALTED.labels(self.group, tp.topic, tp.partition).set(0)
        self.halted.clear()

    def reset(self) -> None:
        """Drop all cursors, so that every partition is sought again before more is processed."""
        self.generation += 1
        self.cursors.clear()

    def is_suspect(self, batch: PartitionBatch) -> bool:
        """Whether earlier processes may have died of `batch`."""
        cursor = self._cursor_of(batch)
        return cursor is not None and batch.first_offset < cursor.suspects_end

    def any_suspect(self, batches: Batches) -> bool:
        """Whether earlier processes may have died of one of `batches`."""
        return any(map(self.is_suspect, batches))

    def split_batches(self, batches: Batches, shares: int) -> list[list[PartitionBatch]]:
        """Divide `batches` among transactions: one for all, or `shares` of them where there are many records.

        Where one is suspect, each gets a transaction, so that a deadly record affects its own partition only.
        """
        if self.any_suspect(batches):
            return [[part] for batch in batches for part in self._singles(batch)]
        if shares == 1 or sum(len(batch.records) for batch in batches) < MIN_SPLIT_RECORDS:
            return [list(batches)]
        share_of = {tp: rank % shares for rank, tp in enumerate(sorted(self.cursors))}
        divided: list[list[PartitionBatch]] = [[] for _ in range(shares)]
        for batch in batches:
            divided[share_of[TopicPartition(batch.topic, batch.partition)]].append(batch)
        return [share for share in divided if share]

    def _singles(self, batch: PartitionBatch) -> list[PartitionBatch]:
        cursor = self._cursor_of(batch)
        if cursor is None or not cursor.one_by_one or not self.is_suspect(batch):
            return [batch]
        return [batch._replace(records=[record]) for record in batch.records]

    def needs_mark(self, batch: PartitionBatch) -> bool:
        """Whether an attempt has to be marked before `batch` is processed."""
        cursor = self._cursor_of(batch)
        return cursor is not None and (not cursor.marked or self.is_suspect(batch))

    def mark(self, batches: Batches) -> None:
        """Remember that the attempts of `batches` are marked."""
        for batch in batches:
            if cursor := self._cursor_of(batch):
                cursor.marked = True

    def suspects_end(self, batch: PartitionBatch) -> int:
        """Return the end of the records that are taken one by one with that of `batch`, 0 if none are."""
        cursor = self._cursor_of(batch)
        return cursor.suspects_end if cursor is not None and cursor.one_by_one else 0

    def is_poison(self, batch: PartitionBatch) -> bool:
        """Whether too many processes died of the one record of `batch`."""
        cursor = self._cursor_of(batch)
        # Until the end of the suspects is stored, the deaths are those of larger batches.
        return (
            cursor is not None
            and batch.first_offset == cursor.position.next_offset < cursor.position.suspects_end
            and cursor.position.attempts >= MIN_DEATHS_TO_POISON
        )

    def _cursor_of(self, batch: PartitionBatch) -> PartitionCursor | None:
        return self.cursors.get(TopicPartition(batch.topic, batch.partition))

    def partitions_to_seek(self) -> list[TopicPartition]:
        """Return the assigned partitions that have no cursor yet."""
        return sorted(self.consumer.assignment() - self.cursors.keys() - self.halted.keys())

    def halt(self, tp: TopicPartition, reason: str) -> None:
        """Stop reading `tp` and alarm."""
        self.cursors.pop(tp, None)
        self.halted[tp] = reason
        PARTITION_HALTED.labels(self.group, tp.topic, tp.partition).set(1)
        log.error("partition halted", group=self.group, topic=tp.topic, partition=tp.partition, reason=reason)
        with suppress(IllegalStateError):
            # A partition without any position, paused or not, would make every call of the consumer fail.
            self.consumer.seek(tp, 0)
            self.consumer.pause(tp)

    def connections_changed(self) -> bool:
        """Whether a broker connection for records was opened or lost since the last call.

        A new connection may lead to another log: of a broker that was wiped, or restored from an older copy.
        """
        connections = self.consumer._client._conns  # noqa: SLF001  aiokafka offers no public access to it
        now = {
            node: connection
            for (node, group), connection in connections.items()
            if group == 0 and node != BOOTSTRAP_NODE
        }
        changed = now != self._connections
        self._connections = now
        return changed

    async def seek_to_positions(self, connection: asyncpg.Connection, partitions: Sequence[TopicPartition]) -> None:
        """Seek each of `partitions` to its position, or halt it where the log does not contain that position.

        Raises:
            KafkaError: the broker does not answer.
            SetupError: a partition has no position.
        """
        generation = self.generation
        # Read before the ends: a position that another member moves meanwhile would lie after an end read earlier.
        positions = {tp: await read_position(connection, self.group, tp.topic, tp.partition) for tp in partitions}
        starts = await self.consumer.beginning_offsets(partitions)
        ends = await self.consumer.end_offsets(partitions)
        if generation != self.generation:
            return
        for tp, position in positions.items():
            if position.next_offset < starts[tp]:
                self.halt(tp, f"the log starts at {starts[tp]}, behind the position {position.next_offset}")
            elif position.next_offset > ends[tp]:
                self.halt(tp, f"the log ends at {ends[tp]}, before the position {position.next_offset}")
            else:
                self._seek(tp, position, starts[tp], ends[tp])

    def _seek(self, tp: TopicPartition, position: Position, start: int, end: int) -> None:
        # Where retention removed all records before the position there is nothing to compare.
        previous_digest = position.digest if position.next_offset > start else None
        try:
            self.consumer.seek(tp, position.next_offset)
            self.consumer.pause(tp)
        except IllegalStateError:
            return
        suspects_end, one_by_one = position.suspects_end, True
        if position.next_offset >= suspects_end:
            suspects_end = min(end, position.next_offset + MAX_BATCH_RECORDS) if position.attempts else 0
            one_by_one = position.attempts >= MIN_DEATHS_TO_SUSPECT
        self.cursors[tp] = PartitionCursor(position, position.next_offset, previous_digest, suspects_end, one_by_one)

    def next_offsets(self) -> dict[TopicPartition, int]:
        """Return the offset to fetch next of each partition with a cursor."""
        return {
            tp: cursor.next_offset - 1 if cursor.previous_digest else cursor.next_offset
            for tp, cursor in self.cursors.items()
        }

    def read_batch(self, tp: TopicPartition, fetched: bytes) -> PartitionBatch | None:
        """Parse the next batch of `tp` in `fetched`, None where there is none, and move the cursor behind it.

        Raises:
            TransientError: the log was damaged in transit.
        """
        cursor = self.cursors.get(tp)
        if cursor is None:
            return None
        try:
            records = read_records(fetched, self.next_offsets()[tp])
        except HaltError as error:
            self.halt(tp, str(error))
            return None
        if not self._match_previous(tp, cursor, records):
            return None
        del records[cursor.batch_limit :]
        if records[-1].offset - cursor.next_offset != len(records) - 1:
            self.halt(tp, f"records are missing between {cursor.next_offset} and {records[-1].offset}")
            return None
        cursor.next_offset = records[-1].offset + 1
        return PartitionBatch(tp.topic, tp.partition, cursor.position.epoch, records)

    def _match_previous(self, tp: TopicPartition, cursor: PartitionCursor, records: list[Record]) -> bool:
        """Compare and remove the record before the cursor where that is still to be done; whether records remain."""
        if cursor.previous_digest is None or not records:
            return bool(records)
        if records[0].offset != cursor.next_offset - 1:
            self.halt(tp, f"the record at {cursor.next_offset - 1} is missing")
            return False
        if digest(records[0]) != cursor.previous_digest:
            self.halt(tp, f"the record at {cursor.next_offset - 1} is not the one that was counted")
            return False
        cursor.previous_digest = None
        del records[0]
        return bool(records)

"""The partitions of a loop: each assigned partition is sought to its position in PostgreSQL before it is processed.

aiokafka calls a rebalance listener while it already fetches, and swallows its errors; so the loop itself seeks, and
every record that it processes must be the next one of a partition with a cursor.
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

MAX_BATCH_RECORDS: Final = 10_000
"""About as many records as one fetch brings."""
MIN_SPLIT_RECORDS: Final = 4_000
"""From so many records on, a transaction for each share of them is worth its commit."""
MIN_DEATHS_TO_LIMIT: Final = 3
"""From so many processes that died on the same records on, batches are limited: 1,000, 100, 10, then one record."""
BOOTSTRAP_NODE: Final = "bootstrap"
"""aiokafka's name of the connection that finds the brokers."""
MIN_DEATHS_TO_POISON: Final = 3
"""A single record on which so many processes died is never tried again."""


@dataclass(slots=True)
class PartitionCursor:
    """The cursor of an assigned partition.

    `next_offset` is that of the next record to read, `previous_digest` the digest of the record before it until they
    have been compared; the records up to `suspect_until` are those on which earlier processes may have died.
    """

    position: Position
    next_offset: int
    previous_digest: bytes | None
    suspect_until: int
    attempt_registered: bool = False

    @property
    def batch_limit(self) -> int:
        """How many records a batch may have."""
        return _batch_limit(self.position.attempts if self.next_offset <= self.suspect_until else 0)

    @property
    def limited(self) -> bool:
        """Whether batches have fewer records than otherwise."""
        return self.batch_limit < MAX_BATCH_RECORDS


def _batch_limit(deaths: int) -> int:
    """Return how many records a batch may have after so many deaths."""
    return max(1, MAX_BATCH_RECORDS // int(10 ** max(0, deaths - MIN_DEATHS_TO_LIMIT + 1)))


_MIN_DEATHS_FOR_SINGLE: Final = next(deaths for deaths in itertools.count() if _batch_limit(deaths) == 1)


@dataclass(slots=True)
class Assignments:
    """The assigned partitions of one loop. A halted partition stays so until it is assigned again."""

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

    @property
    def limited(self) -> bool:
        """Whether any partition's batches are limited now."""
        return any(cursor.limited for cursor in self.cursors.values())

    def split_batches(self, batches: Sequence[PartitionBatch], shares: int) -> list[list[PartitionBatch]]:
        """Divide `batches` among transactions: one for all, or `shares` of them where there are many records.

        Limited partitions get a transaction each, so that a deadly record affects its own partition only.
        """
        if any(cursor.limited for batch in batches if (cursor := self._cursor_of(batch))):
            return [[batch] for batch in batches]
        if shares == 1 or sum(len(batch.records) for batch in batches) < MIN_SPLIT_RECORDS:
            return [list(batches)]
        share_of = {tp: rank % shares for rank, tp in enumerate(sorted(self.cursors))}
        divided: list[list[PartitionBatch]] = [[] for _ in range(shares)]
        for batch in batches:
            divided[share_of[TopicPartition(batch.topic, batch.partition)]].append(batch)
        return [share for share in divided if share]

    def needs_registration(self, batch: PartitionBatch) -> bool:
        """Whether an attempt has to be stored before `batch` is processed."""
        cursor = self._cursor_of(batch)
        return cursor is not None and (cursor.limited or not cursor.attempt_registered)

    def mark_registered(self, batches: Sequence[PartitionBatch]) -> None:
        """Remember that the attempts of `batches` are stored."""
        for batch in batches:
            if cursor := self._cursor_of(batch):
                cursor.attempt_registered = True

    def is_poison(self, batch: PartitionBatch) -> bool:
        """Whether the one record of `batch` has ended too many processes."""
        cursor = self._cursor_of(batch)
        if cursor is None or cursor.attempt_registered:
            return False
        # Deaths with more records in hand are no evidence against this one.
        alone = min(cursor.position.stuck, cursor.position.attempts - _MIN_DEATHS_FOR_SINGLE)
        return cursor.batch_limit == 1 and alone >= MIN_DEATHS_TO_POISON

    def attempts_after(self, batch: PartitionBatch) -> int:
        """Return the deaths to store with the position after `batch`: those of suspect records that remain."""
        cursor = self._cursor_of(batch)
        return cursor.position.attempts if cursor is not None and cursor.limited else 0

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
        log.error("partition halted", topic=tp.topic, partition=tp.partition, reason=reason)
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
        positions = {tp: await read_position(connection, tp.topic, tp.partition) for tp in partitions}
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
                self._seek(tp, position, starts[tp])

    def _seek(self, tp: TopicPartition, position: Position, start: int) -> None:
        # Where retention removed all records before the position there is nothing to compare.
        previous_digest = position.digest if position.next_offset > start else None
        try:
            self.consumer.seek(tp, position.next_offset)
            self.consumer.pause(tp)
        except IllegalStateError:
            return
        # The last process that died had no more records than this in hand; no process died on later ones.
        suspect = _batch_limit(position.attempts - 1)
        self.cursors[tp] = PartitionCursor(
            position, position.next_offset, previous_digest, suspect_until=position.next_offset + suspect
        )

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
        records = records[: cursor.batch_limit] if cursor.limited else records
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

"""Examine and repair partitions whose log is not the one that was read.

Rows, receipts and ledger name offsets, so a partition's offsets never start again. A log that lost counted records is
refilled to its former length with empty records, and those accepted since are moved behind them. Records that were lost
before they were counted are declared, in a tally batch without deltas, and skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from deploy.local.endpoints import Endpoints
from deploy.recovery import log_refill
from shared.clock import SystemClock, rfc3339
from shared.counting.counted_topic import CountedTopic
from shared.counting.tally_batches import TallyBatchBuilder
from shared.errors import SetupError
from shared.events.tallies import ActionsCounted
from shared.kafka import outbox
from shared.kafka.positions import digest, skip_records
from shared.kafka.records import Record
from shared.kafka.topic_scan import TopicScan, open_scan
from shared.recoveries import Recovery, record_recovery

CONNECT_S: Final = 10.0
MAILER: Final = "notifications"
"""This service reads the counted topics too, with positions of its own."""


@dataclass(frozen=True, slots=True)
class ReaderPosition:
    """The position of `group` in a partition, in the database of `service`, and the state of the log there.

    `problem` is empty if it can read on. `replaced` says that the log lost what it read; otherwise the log resumes at
    `resume_offset`, and the records from `next` to there are lost.
    """

    service: str
    group: str
    next: int
    epoch: int
    moved_at: datetime
    problem: str = ""
    replaced: bool = False
    resume_offset: int = 0


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition of a counted topic: its log from `start` to before `end`, and its readers."""

    counted: CountedTopic
    number: int
    start: int
    end: int
    readers: Sequence[ReaderPosition]

    @property
    def broken(self) -> bool:
        """Whether a reader cannot read on."""
        return any(reader.problem for reader in self.readers)

    @property
    def replaced(self) -> bool:
        """Whether the log lost what a reader has read."""
        return any(reader.replaced for reader in self.readers)

    @property
    def read_up_to(self) -> int:
        """The highest position of its readers."""
        return max(reader.next for reader in self.readers)

    def __str__(self) -> str:
        return f"{self.counted.topic.name}/{self.number}"


class _Repair(NamedTuple):
    """What was done to a log (empty if nothing), and the operator's reason."""

    done: str
    reason: str


class _StoredPosition(NamedTuple):
    group: str
    partition: int
    next: int
    digest: bytes | None
    epoch: int
    moved_at: datetime


_POSITIONS: Final = """
SELECT consumer_group, partition, next, digest, epoch, moved_at FROM positions WHERE topic = $1 ORDER BY 1, 2
"""


async def examine(at: Endpoints, counted: CountedTopic) -> list[PartitionState]:
    """Examine every partition of `counted`. Changes nothing.

    Raises:
        SetupError: there is no such topic. KafkaError, OSError, asyncpg.PostgresError: a part is away.
    """
    topic = counted.topic.name
    stored: dict[int, list[tuple[str, _StoredPosition]]] = {}
    for service in (counted.topic.owner, MAILER):
        for position in await _positions(at["databases"][service], topic):
            stored.setdefault(position.partition, []).append((service, position))
    async with open_scan(at["kafka"], topic) as scan:
        return [
            PartitionState(
                counted,
                number,
                *scan.ranges[number],
                [await _examine_reader(scan, service, position) for service, position in positions],
            )
            for number, positions in sorted(stored.items())
        ]


async def _positions(url: str, topic: str) -> list[_StoredPosition]:
    connection = await asyncpg.connect(url, timeout=CONNECT_S)
    try:
        return [_StoredPosition(*row) for row in await connection.fetch(_POSITIONS, topic)]
    finally:
        await connection.close(timeout=CONNECT_S)


async def _examine_reader(scan: TopicScan, service: str, stored: _StoredPosition) -> ReaderPosition:
    start, end = scan.ranges[stored.partition]
    position, common = stored.next, (service, stored.group, stored.next, stored.epoch, stored.moved_at)
    if position < start:
        return ReaderPosition(*common, f"the log starts at {start}, behind the position", resume_offset=start)
    if position > end:
        return ReaderPosition(*common, f"the log ends at {end}, before the position", replaced=True)
    if position > start and stored.digest is not None:
        before = await _first_record(scan, stored.partition, position - 1)
        if before is not None and before.offset == position - 1 and digest(before) != stored.digest:
            return ReaderPosition(*common, f"the record at {position - 1} is not the one that was read", replaced=True)
        if before is None or before.offset != position - 1:
            resume_offset = before.offset if before else end
            return ReaderPosition(*common, f"the record at {position - 1} is missing", resume_offset=resume_offset)
    following = await _first_record(scan, stored.partition, position) if position < end else None
    if following is not None and following.offset > position:
        return ReaderPosition(*common, f"no records up to {following.offset}", resume_offset=following.offset)
    return ReaderPosition(*common)


async def _first_record(scan: TopicScan, partition: int, offset: int) -> Record | None:
    """Read the first record from `offset` on."""
    async with aclosing(scan.batches(partition, start=offset)) as batches:
        async for batch in batches:
            return batch.records[0]
    return None


async def describe_repair(at: Endpoints, partition: PartitionState, since: float | None) -> str:
    """Describe what `repair` would do with a broken `partition`. Changes nothing.

    Raises:
        SetupError: as `repair` does.
    """
    if not partition.replaced:
        lost = {reader.group: reader.resume_offset - reader.next for reader in partition.readers}
        return "; ".join(f"{group} skips {count} lost records" for group, count in lost.items() if count > 0)
    newer = await log_refill.find_records_after_loss(
        at, partition.counted, partition.number, partition.read_up_to, since
    )
    moved = f"; {newer.count} records that were taken since go behind that" if newer.count else ""
    return f"the log goes on at {newer.resume_offset}{moved}"


async def repair(at: Endpoints, partition: PartitionState, *, since: float | None, reason: str) -> list[str]:
    """Make the log of a broken `partition` readable, and describe what was done.

    `since` (seconds since 1970) separates records accepted after the loss from an older copy of those counted.

    Raises:
        SetupError: the log holds records that were counted, and `since` is missing.
    """
    if not partition.replaced:
        ends = {reader.group: reader.resume_offset for reader in partition.readers if reader.problem}
        return await _skip(at, partition, ends, _Repair("", reason))
    newer = await log_refill.find_records_after_loss(
        at, partition.counted, partition.number, partition.read_up_to, since
    )
    await log_refill.fill_log(at["kafka"], partition.counted.topic.name, partition.number, newer.resume_offset)
    moved = await log_refill.move_records(at["kafka"], partition.counted.topic.name, partition.number, newer)
    accepted = f"; {moved} records that were taken since stand behind that" if moved else ""
    done = f"the log begins at {newer.resume_offset}{accepted}"
    ends = {reader.group: newer.resume_offset for reader in partition.readers}
    lines = await _skip(at, partition, ends, _Repair(done, reason))
    await log_refill.delete_before(at["kafka"], partition.counted.topic.name, partition.number, newer.resume_offset)
    return [f"{partition}: {done}", *lines]


async def _skip(at: Endpoints, partition: PartitionState, ends: dict[str, int], repair_: _Repair) -> list[str]:
    """Move the positions of the groups in `ends` to those offsets, declare what they skip, and note it all."""
    lines = []
    async with AsyncExitStack() as stack:
        for reader in partition.readers:
            if reader.group not in ends:
                continue
            connection = await asyncpg.connect(at["databases"][reader.service], timeout=CONNECT_S)
            stack.push_async_callback(connection.close, timeout=CONNECT_S)
            async with connection.transaction():
                lines += await _declare(connection, partition, reader, ends[reader.group], repair_)
    return lines


async def _declare(
    connection: asyncpg.Connection, partition: PartitionState, reader: ReaderPosition, end: int, repair_: _Repair
) -> list[str]:
    now = SystemClock().now()
    lost = end - reader.next
    if lost < 0:
        raise SetupError(f"{partition}: {reader.group} has read on meanwhile; look again")
    skipped = f"offsets {reader.next} to {end - 1} were skipped" if lost else "the position stays"
    topic = partition.counted.topic
    if lost or not repair_.done:
        await skip_records(connection, reader.group, topic.name, partition.number, (reader.next, end))
    if lost and reader.group == partition.counted.group:
        await outbox.put_outbox(
            connection,
            [TallyBatchBuilder(partition.counted).outbox_record(_lost_tally_batch(partition, reader, end, now))],
        )
    all_done = "; ".join(part for part in (repair_.done, skipped) if part)
    recovery = Recovery("log", str(partition), reader.problem or "can be read on", all_done, repair_.reason)
    await record_recovery(connection, recovery, now)
    return [f"{partition}: {reader.group}: {skipped}"]


def _lost_tally_batch(partition: PartitionState, reader: ReaderPosition, end: int, now: float) -> ActionsCounted:
    """The tally batch of records that can never be counted."""
    return ActionsCounted(
        source=partition.counted.topic.name,
        epoch=reader.epoch,
        partition=partition.number,
        first=reader.next,
        next=end,
        part=0,
        parts=1,
        counted_at=rfc3339(now),
        accepted_until=rfc3339(reader.moved_at.timestamp()),
        deltas=[],
        recovered="records-lost",
    )

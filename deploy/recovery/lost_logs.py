"""Examine and repair partitions whose log is not the one that was read.

Rows, receipts and ledger name offsets, so a partition's offsets never start again. A log that lost counted records is
refilled to its former length with empty records, and those accepted since are moved behind them. Records that were lost
before they were counted are declared, in a tally batch without deltas, and skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import asyncpg

from deploy.local.connections import connect
from deploy.local.endpoints import Endpoints
from deploy.recovery import log_refill
from shared.clock import SystemClock, rfc3339
from shared.counting.counted_topic import CountedTopic
from shared.counting.tally_batches import TallyBatchBuilder
from shared.errors import SetupError
from shared.events.tallies import ActionsCounted
from shared.kafka import outbox
from shared.kafka.positions import digest, skip_records
from shared.kafka.topic_scan import TopicScan, open_scan
from shared.recoveries import Recovery, record_recovery

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


_POSITIONS: Final = """
SELECT partition, digest, consumer_group, next, epoch, moved_at FROM positions WHERE topic = $1
ORDER BY consumer_group, partition
"""


async def examine(at: Endpoints, counted: CountedTopic) -> list[PartitionState]:
    """Examine every partition of `counted`. Changes nothing.

    Raises:
        SetupError: there is no such topic. KafkaError, OSError, asyncpg.PostgresError: a part is away.
    """
    topic = counted.topic.name
    stored: dict[int, list[tuple[ReaderPosition, bytes | None]]] = {}
    for service in (counted.topic.owner, MAILER):
        async with connect(at["databases"][service]) as connection:
            for partition, digest_, *position in await connection.fetch(_POSITIONS, topic):
                stored.setdefault(partition, []).append((ReaderPosition(service, *position), digest_))
    async with open_scan(at["kafka"], topic) as scan:
        return [
            PartitionState(
                counted,
                number,
                *scan.ranges[number],
                [await _examine_reader(scan, number, *position) for position in positions],
            )
            for number, positions in sorted(stored.items())
        ]


async def _examine_reader(
    scan: TopicScan, partition: int, reader: ReaderPosition, last_digest: bytes | None
) -> ReaderPosition:
    start, end = scan.ranges[partition]
    position = reader.next
    if position < start:
        return replace(reader, problem=f"the log starts at {start}, behind the position", resume_offset=start)
    if position > end:
        return replace(reader, problem=f"the log ends at {end}, before the position", replaced=True)
    if position > start and last_digest is not None:
        last = await scan.first_record(partition, position - 1)
        if last is None or last.offset != position - 1:
            resume_offset = last.offset if last else end
            return replace(reader, problem=f"the record at {position - 1} is missing", resume_offset=resume_offset)
        if digest(last) != last_digest:
            return replace(reader, problem=f"the record at {position - 1} is not the one that was read", replaced=True)
    following = await scan.first_record(partition, position) if position < end else None
    if following is not None and following.offset > position:
        return replace(reader, problem=f"no records up to {following.offset}", resume_offset=following.offset)
    return reader


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
        return await _skip(at, partition, ends, done="", reason=reason)
    newer = await log_refill.find_records_after_loss(
        at, partition.counted, partition.number, partition.read_up_to, since
    )
    await log_refill.fill_log(at["kafka"], partition.counted.topic.name, partition.number, newer.resume_offset)
    await log_refill.move_records(at["kafka"], partition.counted.topic.name, partition.number, newer)
    accepted = f"; {newer.count} records that were taken since stand behind that" if newer.count else ""
    done = f"the log begins at {newer.resume_offset}{accepted}"
    ends = {reader.group: newer.resume_offset for reader in partition.readers}
    lines = await _skip(at, partition, ends, done=done, reason=reason)
    await log_refill.delete_before(at["kafka"], partition.counted.topic.name, partition.number, newer.resume_offset)
    return [f"{partition}: {done}", *lines]


async def _skip(at: Endpoints, partition: PartitionState, ends: dict[str, int], *, done: str, reason: str) -> list[str]:
    """Move the positions of the groups in `ends` to those offsets, declare what they skip, and note it all.

    `done` is what was done to the log, empty if nothing.
    """
    lines = []
    for reader in partition.readers:
        if reader.group in ends:
            async with connect(at["databases"][reader.service]) as connection, connection.transaction():
                skipped = await _declare(connection, partition, reader, ends[reader.group], refilled=bool(done))
                all_done = f"{done}; {skipped}" if done else skipped
                recovery = Recovery("log", str(partition), reader.problem or "can be read on", all_done, reason)
                await record_recovery(connection, recovery, SystemClock().now())
            lines.append(f"{partition}: {reader.group}: {skipped}")
    return lines


async def _declare(
    connection: asyncpg.Connection, partition: PartitionState, reader: ReaderPosition, end: int, *, refilled: bool
) -> str:
    lost = end - reader.next
    if lost < 0:
        raise SetupError(f"{partition}: {reader.group} has read on meanwhile; look again")
    topic = partition.counted.topic
    if lost or not refilled:
        await skip_records(connection, reader.group, topic.name, partition.number, (reader.next, end))
    if lost and reader.group == partition.counted.group:
        batch = _lost_tally_batch(partition, reader, end)
        await outbox.put_outbox(connection, [TallyBatchBuilder(partition.counted).outbox_record(batch)])
    return f"offsets {reader.next} to {end - 1} were skipped" if lost else "the position stays"


def _lost_tally_batch(partition: PartitionState, reader: ReaderPosition, end: int) -> ActionsCounted:
    """The tally batch of records that can never be counted."""
    return ActionsCounted(
        source=partition.counted.topic.name,
        epoch=reader.epoch,
        partition=partition.number,
        first=reader.next,
        next=end,
        part=0,
        parts=1,
        counted_at=rfc3339(SystemClock().now()),
        accepted_until=rfc3339(reader.moved_at.timestamp()),
        deltas=[],
        recovered="records-lost",
    )

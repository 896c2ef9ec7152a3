"""Partitions whose log is not the one that was read: what is wrong with each, and what is done about it.

Rows, receipts and ledger name offsets, so a partition's offsets never begin anew. A log that lost what was counted is
made as long as before: filled up with empty records, and what was taken since is put behind them. Records that are
gone before they were counted are declared, in a tally batch without deltas, and skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from deploy.local.endpoints import Endpoints
from deploy.recovery import refilling
from shared.clock import SystemClock, rfc3339
from shared.counting.counted_topic import CountedTopic
from shared.counting.tally_batches import TallyBatches
from shared.errors import SetupError
from shared.events.tallies import ActionsCounted
from shared.kafka import outbox
from shared.kafka.positions import digest, skip
from shared.kafka.records import Record
from shared.kafka.topic_scan import TopicScan, open_scan
from shared.recoveries import Recovery, note

CONNECT_S: Final = 10.0
MAILER: Final = "notifications"
"""Reads what people submit too, with positions of its own."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far `service` has read a partition, and what it finds there.

    `problem` is empty where all is well. `replaced` says that what it read is gone from the log; otherwise the log goes
    on at `goes_on`, and what stood between `next` and there is gone.
    """

    service: str
    next: int
    epoch: int
    moved_at: datetime
    problem: str = ""
    replaced: bool = False
    goes_on: int = 0


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of a counted topic: the log from `start` to before `end`, and who reads it."""

    counted: CountedTopic
    number: int
    start: int
    end: int
    standings: Sequence[Standing]

    @property
    def broken(self) -> bool:
        """Whether anybody cannot read on."""
        return any(standing.problem for standing in self.standings)

    @property
    def replaced(self) -> bool:
        """Whether what somebody read is gone from the log."""
        return any(standing.replaced for standing in self.standings)

    @property
    def read(self) -> int:
        """How far anybody has read."""
        return max(standing.next for standing in self.standings)

    def __str__(self) -> str:
        return f"{self.counted.topic.name}/{self.number}"


class _Deed(NamedTuple):
    """What was done to a log, empty where nothing was, and the operator's reason."""

    done: str
    reason: str


class _Stored(NamedTuple):
    partition: int
    next: int
    digest: bytes | None
    epoch: int
    moved_at: datetime


_POSITIONS: Final = "SELECT partition, next, digest, epoch, moved_at FROM positions WHERE topic = $1 ORDER BY partition"


async def examine(at: Endpoints, counted: CountedTopic) -> list[Partition]:
    """How every partition of `counted` stands. Changes nothing.

    Raises:
        SetupError: there is no such topic. KafkaError, OSError, asyncpg.PostgresError: a part is away.
    """
    topic = counted.topic.name
    stored: dict[int, list[tuple[str, _Stored]]] = {}
    for service in (counted.topic.owner, MAILER):
        for position in await _positions(at["databases"][service], topic):
            stored.setdefault(position.partition, []).append((service, position))
    async with open_scan(at["kafka"], topic) as scan:
        return [
            Partition(
                counted,
                number,
                *scan.ranges[number],
                [await _standing(scan, service, position) for service, position in positions],
            )
            for number, positions in sorted(stored.items())
        ]


async def _positions(url: str, topic: str) -> list[_Stored]:
    connection = await asyncpg.connect(url, timeout=CONNECT_S)
    try:
        return [_Stored(*row) for row in await connection.fetch(_POSITIONS, topic)]
    finally:
        await connection.close(timeout=CONNECT_S)


async def _standing(scan: TopicScan, service: str, stored: _Stored) -> Standing:
    start, end = scan.ranges[stored.partition]
    position, common = stored.next, (service, stored.next, stored.epoch, stored.moved_at)
    if position < start:
        return Standing(*common, f"the log starts at {start}, behind the position", goes_on=start)
    if position > end:
        return Standing(*common, f"the log ends at {end}, before the position", replaced=True)
    if position > start and stored.digest is not None:
        before = await _first(scan, stored.partition, position - 1)
        if before is not None and before.offset == position - 1 and digest(before) != stored.digest:
            return Standing(*common, f"the record at {position - 1} is not the one that was read", replaced=True)
        if before is None or before.offset != position - 1:
            goes_on = before.offset if before else end
            return Standing(*common, f"the record at {position - 1} is missing", goes_on=goes_on)
    following = await _first(scan, stored.partition, position) if position < end else None
    if following is not None and following.offset > position:
        return Standing(*common, f"no records up to {following.offset}", goes_on=following.offset)
    return Standing(*common)


async def _first(scan: TopicScan, partition: int, offset: int) -> Record | None:
    """The first record from `offset` on."""
    async with aclosing(scan.batches(partition, start=offset)) as batches:
        async for batch in batches:
            return batch.records[0]
    return None


async def intent(at: Endpoints, partition: Partition, since: float | None) -> str:
    """What `mend` would do with a broken `partition`, in words. Changes nothing.

    Raises:
        SetupError: as `mend` does.
    """
    if not partition.replaced:
        lost = {standing.service: standing.goes_on - standing.next for standing in partition.standings}
        return "; ".join(f"{service} skips {count} lost records" for service, count in lost.items() if count > 0)
    newer = await refilling.taken_since(at, partition.counted, partition.number, partition.read, since)
    moved = f"; {newer.count} records that were taken since go behind that" if newer.count else ""
    return f"the log goes on at {newer.behind}{moved}"


async def mend(at: Endpoints, partition: Partition, *, since: float | None, reason: str) -> list[str]:
    """Make the log of a broken `partition` one that can be read on, and say what was done.

    `since` (seconds since 1970) tells what was taken after the loss from an older copy of what was counted.

    Raises:
        SetupError: the log holds records that were counted, and `since` is missing.
    """
    if not partition.replaced:
        ends = {standing.service: standing.goes_on for standing in partition.standings if standing.problem}
        return await _skip(at, partition, ends, _Deed("", reason))
    newer = await refilling.taken_since(at, partition.counted, partition.number, partition.read, since)
    await refilling.fill(at["kafka"], partition.counted.topic.name, partition.number, newer.behind)
    moved = await refilling.move(at["kafka"], partition.counted.topic.name, partition.number, newer)
    taken = f"; {moved} records that were taken since stand behind that" if moved else ""
    done = f"the log begins at {newer.behind}{taken}"
    said = await _skip(at, partition, dict.fromkeys(_services(partition), newer.behind), _Deed(done, reason))
    await refilling.cut(at["kafka"], partition.counted.topic.name, partition.number, newer.behind)
    return [f"{partition}: {done}", *said]


def _services(partition: Partition) -> list[str]:
    return [standing.service for standing in partition.standings]


async def _skip(at: Endpoints, partition: Partition, ends: dict[str, int], deed: _Deed) -> list[str]:
    """Move the positions of some services to these offsets, declare what they skip, and note it all."""
    said = []
    async with AsyncExitStack() as stack:
        for standing in partition.standings:
            if standing.service not in ends:
                continue
            connection = await asyncpg.connect(at["databases"][standing.service], timeout=CONNECT_S)
            stack.push_async_callback(connection.close, timeout=CONNECT_S)
            async with connection.transaction():
                said += await _declare(connection, partition, standing, ends[standing.service], deed)
    return said


async def _declare(
    connection: asyncpg.Connection, partition: Partition, standing: Standing, end: int, deed: _Deed
) -> list[str]:
    now = SystemClock().now()
    lost = end - standing.next
    if lost < 0:
        raise SetupError(f"{partition}: {standing.service} has read on meanwhile; look again")
    words = f"offsets {standing.next} to {end - 1} were skipped" if lost else "the position stays"
    topic = partition.counted.topic
    if lost or not deed.done:
        await skip(connection, topic.name, partition.number, (standing.next, end))
    if lost and standing.service == topic.owner:
        await outbox.put_outbox(
            connection, [TallyBatches(partition.counted).outbox_record(_lost(partition, standing, end, now))]
        )
    all_done = "; ".join(part for part in (deed.done, words) if part)
    recovery = Recovery("log", str(partition), standing.problem or "can be read on", all_done, deed.reason)
    await note(connection, recovery, now)
    return [f"{partition}: {standing.service}: {words}"]


def _lost(partition: Partition, standing: Standing, end: int, now: float) -> ActionsCounted:
    """The tally batch of records that nobody will ever count."""
    return ActionsCounted(
        source=partition.counted.topic.name,
        epoch=standing.epoch,
        partition=partition.number,
        first=standing.next,
        next=end,
        part=0,
        parts=1,
        counted_at=rfc3339(now),
        accepted_until=rfc3339(standing.moved_at.timestamp()),
        deltas=[],
        recovered="records-lost",
    )

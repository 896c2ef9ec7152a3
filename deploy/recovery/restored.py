"""A database that was restored from a backup: what has to be told or put back before its service starts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

import asyncpg

from deploy.local.endpoints import Endpoints
from deploy.recovery.compacted import Known, read_database, read_topics
from deploy.recovery.tally_sums import moment, parts_in
from services.marathon.actions.put_back import freeze_again, put_back
from services.marathon.consumers.tallies import TOPICS, TallyReader
from services.marathon.domain.ledger import Part, SourcePartition
from services.marathon.storage import ledger, published
from shared.clock import SystemClock
from shared.database import connected, create_pool
from shared.errors import TransientError
from shared.kafka.positions import raise_epochs
from shared.kafka.topic_scan import TopicScan, open_scan
from shared.recoveries import Recovery, note
from shared.tasks import Tasks

CONNECT_S: Final = 10.0
CATCH_UP_S: Final = 3600.0
POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Restored:
    """One partition of a restored counting service: its position, and what marathon takes back from there on.

    `known` is how far marathon has heard of it, `change` what its rows behind the position add to the totals.
    `fits` says that a tally batch ends at the position, as it must. `heard` is the highest epoch that it ever told:
    higher than its own, where it was restored before from a backup as old.
    """

    topic: str
    partition: int
    next: int
    epoch: int
    heard: int
    known: int
    change: int
    fits: bool


_POSITIONS: Final = "SELECT topic, partition, next, epoch FROM positions ORDER BY topic, partition"
_BEHIND: Final = """
SELECT coalesce(max(next), 0) AS known, coalesce(sum(change) FILTER (WHERE first >= $3), 0)::bigint AS change,
    $3 = 0 OR coalesce(bool_or(next = $3), false) OR coalesce(max(next), 0) < $3 AS fits
FROM ledger WHERE source = $1 AND partition = $2
"""


async def examine_source(at: Endpoints, service: str) -> list[Restored]:
    """What raising the epochs of `service` (petitions, letters) leads to. Changes nothing."""
    source = await asyncpg.connect(at["databases"][service], timeout=CONNECT_S)
    try:
        positions = await source.fetch(_POSITIONS)
    finally:
        await source.close(timeout=CONNECT_S)
    async with moment(at["databases"]["marathon"]) as marathon:
        heard = await _epochs(marathon, at["kafka"])
        found = []
        for topic, partition, next_, epoch in positions:
            row = await marathon.fetchrow(_BEHIND, topic, partition, next_)
            assert row is not None  # noqa: S101  an aggregate always has one row
            place = SourcePartition(topic, partition)
            found.append(Restored(topic, partition, next_, epoch, heard.get(place, 0), *row))
        return found


async def _epochs(marathon: asyncpg.Connection, bootstrap_servers: str) -> dict[SourcePartition, int]:
    """The highest epoch of each source partition: marathon's, or that of a tally batch which it has yet to read."""
    found = {place: head.epoch for place, head in (await ledger.heads(marathon)).items()}
    read = await ledger.readings(marathon)
    for topic in TOPICS:
        async with open_scan(bootstrap_servers, topic) as scan, aclosing(_from(scan, read.get(topic, 0))) as unread:
            async for part in unread:
                found[part.place] = max(found.get(part.place, 0), part.batch.epoch)
    return found


async def _from(scan: TopicScan, read: int) -> AsyncGenerator[Part, None]:
    """The parts of tally batches from `read` on; all, where the topic ends before that: then it is another one."""
    start = read if read <= scan.ranges[0].end else 0
    async with aclosing(scan.batches(0, start=start)) as batches:
        async for batch in batches:
            for part in parts_in(batch):
                yield part


def next_epoch(found: Iterable[Restored]) -> int:
    """The epoch in which a restored service goes on: higher than any that one of its partitions ever told.

    Its own are not enough to go by: a backup does not know of the epochs that followed an earlier restore from it.
    """
    return max((max(one.epoch, one.heard) for one in found), default=0) + 1


async def mend_source(at: Endpoints, service: str, epoch: int, reason: str) -> None:
    """Begin `epoch` of `service`: with its next tally batch marathon takes back what it holds from there on."""
    connection = await asyncpg.connect(at["databases"][service], timeout=CONNECT_S)
    try:
        async with connection.transaction():
            await raise_epochs(connection, epoch)
            recovery = Recovery("database", service, "restored from a backup", f"epoch {epoch} was begun", reason)
            await note(connection, recovery, SystemClock().now())
    finally:
        await connection.close(timeout=CONNECT_S)


async def examine_marathon(at: Endpoints) -> Known:
    """What the topics know and marathon's restored database does not, or only an older state of."""
    there = await read_topics(at["kafka"])
    connection = await asyncpg.connect(at["databases"]["marathon"], timeout=CONNECT_S)
    try:
        here = await read_database(connection)
    finally:
        await connection.close(timeout=CONNECT_S)
    return Known(
        campaigns={slug: one for slug, one in there.campaigns.items() if _newer(one, here.campaigns.get(slug))},
        cases={slug: one for slug, one in there.cases.items() if _newer(one, here.cases.get(slug))},
        keys={name: key for name, key in there.keys.items() if name not in here.keys},
        access={name: one for name, one in there.access.items() if one != here.access.get(name)},
        totals={slug: one for slug, one in there.totals.items() if _newer(one, here.totals.get(slug))},
    )


class _Versioned(Protocol):
    @property
    def version(self) -> int:
        """Rises with every change."""
        ...


def _newer(theirs: _Versioned, ours: _Versioned | None) -> bool:
    return ours is None or theirs.version > ours.version


async def mend_marathon(at: Endpoints, newer: Known, reason: str) -> None:
    """Put `newer` back, and read the tally topics to their end before anybody publishes totals again.

    Raises:
        TransientError: the tally topics were not read within an hour.
    """
    pool = await create_pool(at["databases"]["marathon"], application_name="recovery")
    try:
        async with connected(pool) as connection, connection.transaction():
            now = SystemClock().now()
            await put_back(
                connection,
                campaigns_=newer.campaigns.values(),
                cases=newer.cases.values(),
                keys=newer.keys.values(),
                accesses=newer.access.values(),
                totals=newer.totals.values(),
                now=now,
            )
            done = "what the topics know was put back"
            await note(connection, Recovery("database", "marathon", "restored from a backup", done, reason), now)
        await _catch_up(pool, at["kafka"])
        async with connected(pool) as connection, connection.transaction():
            # Not only of what is newer: all was put back already where this is repeated.
            for one in await published.documents(connection, await published.versions(connection)):
                if one.document.state == "frozen":
                    await freeze_again(connection, one.document)
    finally:
        await pool.close()


async def _catch_up(pool: asyncpg.Pool, bootstrap_servers: str) -> None:
    ends = {}
    for topic in TOPICS:
        async with open_scan(bootstrap_servers, topic) as scan:
            ends[topic] = scan.ranges[0].end
    deadline = time.monotonic() + CATCH_UP_S
    async with Tasks() as tasks:
        tasks.start("tally batches", TallyReader(pool, bootstrap_servers).run)
        while True:
            async with connected(pool) as connection:
                read = await ledger.readings(connection)
            if all(read.get(topic, 0) >= end for topic, end in ends.items()):
                return
            if time.monotonic() > deadline:
                raise TransientError("the tally topics were not read to their ends; repeat the command")
            await asyncio.sleep(POLL_S)

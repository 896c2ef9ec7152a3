"""A database that was restored from a backup: what has to be told or put back before its service starts."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final, Protocol

import asyncpg

from deploy.local.endpoints import Endpoints
from deploy.recovery.compacted import Known, read_database, read_topics
from services.marathon.actions.put_back import freeze_again, put_back
from services.marathon.consumers.tallies import TOPICS, TallyReader
from services.marathon.storage import ledger, published
from shared.clock import SystemClock
from shared.database import connected, create_pool
from shared.errors import TransientError
from shared.kafka.positions import raise_epochs
from shared.kafka.scanning import scanning
from shared.recoveries import Recovery, note
from shared.tasks import Tasks

CONNECT_S: Final = 10.0
CATCH_UP_S: Final = 3600.0
POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Restored:
    """One partition of a restored counting service: its position, and what marathon takes back from there on.

    `known` is how far marathon has heard of it, `change` what its rows behind the position add to the totals.
    `fits` says that a tally batch ends at the position, as it must.
    """

    topic: str
    partition: int
    next: int
    epoch: int
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
    marathon = await asyncpg.connect(at["databases"]["marathon"], timeout=CONNECT_S)
    try:
        found = []
        for topic, partition, next_, epoch in positions:
            row = await marathon.fetchrow(_BEHIND, topic, partition, next_)
            assert row is not None  # noqa: S101  an aggregate always has one row
            found.append(Restored(topic, partition, next_, epoch, *row))
        return found
    finally:
        await marathon.close(timeout=CONNECT_S)


async def mend_source(at: Endpoints, service: str, reason: str) -> None:
    """Raise the epochs of `service`: with its next tally batch marathon takes back what it holds from there on."""
    connection = await asyncpg.connect(at["databases"][service], timeout=CONNECT_S)
    try:
        async with connection.transaction():
            await raise_epochs(connection)
            recovery = Recovery("database", service, "restored from a backup", "the epochs rose by one", reason)
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
        async with scanning(bootstrap_servers, topic) as scan:
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

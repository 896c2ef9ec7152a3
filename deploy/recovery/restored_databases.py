"""Prepare a database that was restored from a backup for the start of its service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from operator import ne
from typing import Final

import asyncpg

from deploy.local.connections import connect, snapshot
from deploy.local.endpoints import Endpoints
from deploy.recovery.compacted_topics import MarathonState, is_newer, read_database, read_topics, select
from deploy.recovery.tally_sums import decode_parts
from services.marathon.actions.put_back import freeze_again, put_back
from services.marathon.consumers.tallies import GROUP, TOPICS, tally_subscription
from services.marathon.domain.ledger import SourcePartition
from services.marathon.storage import ledger, published
from shared.clock import SystemClock
from shared.counting.counted_topic import CountedTopic
from shared.database import connected, create_pool
from shared.errors import TransientError
from shared.kafka.positions import raise_epochs
from shared.kafka.subscription_positions import read_positions
from shared.kafka.subscription_reader import SubscriptionReader
from shared.kafka.topic_scan import open_scan
from shared.recoveries import Recovery, record_recovery
from shared.tasks import Tasks

CATCH_UP_S: Final = 3600.0
POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class RestoredPartition:
    """One partition of a restored counting service: its position, and what marathon takes back from there on.

    Marathon's ledger covers it up to `known_up_to`; its rows behind the position add `change` to the totals. `fits`
    says that a tally batch ends at the position, as it must. `highest_epoch` is the highest that it ever published:
    higher than `epoch`, if it was restored before from a backup as old.
    """

    topic: str
    partition: int
    next: int
    epoch: int
    highest_epoch: int
    known_up_to: int
    change: int
    fits: bool


_POSITIONS: Final = """
SELECT topic, partition, next, epoch FROM positions WHERE consumer_group = ANY($1) ORDER BY topic, partition
"""
_LEDGER_AFTER: Final = """
SELECT coalesce(max(next), 0) AS known, coalesce(sum(change) FILTER (WHERE first >= $3), 0)::bigint AS change,
    $3 = 0 OR coalesce(bool_or(next = $3), false) OR coalesce(max(next), 0) < $3 AS fits
FROM ledger WHERE source = $1 AND partition = $2
"""


async def examine_source(at: Endpoints, service: str, counted: Iterable[CountedTopic]) -> list[RestoredPartition]:
    """Find what raising the epochs of `service`, which counts `counted`, leads to. Changes nothing."""
    async with connect(at["databases"][service]) as source:
        positions = await source.fetch(_POSITIONS, [topic.group for topic in counted])
    async with snapshot(at["databases"]["marathon"]) as marathon:
        epochs = await _highest_epochs(marathon, at["kafka"])
        partitions = []
        for topic, partition, next_, epoch in positions:
            row = await marathon.fetchrow(_LEDGER_AFTER, topic, partition, next_)
            assert row is not None  # noqa: S101  an aggregate always has one row
            source_partition = SourcePartition(topic, partition)
            partitions.append(RestoredPartition(topic, partition, next_, epoch, epochs.get(source_partition, 0), *row))
        return partitions


async def _highest_epochs(marathon: asyncpg.Connection, bootstrap_servers: str) -> dict[SourcePartition, int]:
    """Return the highest epoch of each source partition: marathon's, or that of a tally batch not yet read."""
    epochs = {source: head.epoch for source, head in (await ledger.heads(marathon)).items()}
    read = await _read_up_to(marathon)
    for topic in TOPICS:
        async with open_scan(bootstrap_servers, topic.name) as scan:
            start = read.get(topic.name, 0)
            if start > scan.ranges[0].end:
                start = 0  # it is another topic than the one that was read
            async with aclosing(scan.batches(0, start=start)) as batches:
                async for batch in batches:
                    for part in decode_parts(batch):
                        epochs[part.source] = max(epochs.get(part.source, 0), part.batch.epoch)
    return epochs


async def _read_up_to(marathon: asyncpg.Connection) -> dict[str, int]:
    """Return how far each tally topic is read."""
    return {tp.topic: position.next_offset for tp, position in (await read_positions(marathon, GROUP)).items()}


def next_epoch(partitions: Iterable[RestoredPartition]) -> int:
    """Return the epoch in which a restored service continues: higher than any that its partitions ever published.

    Its own epochs are not enough: a backup lacks those that followed an earlier restore from it.
    """
    return max((max(partition.epoch, partition.highest_epoch) for partition in partitions), default=0) + 1


async def repair_source(at: Endpoints, service: str, epoch: int, reason: str) -> None:
    """Begin `epoch` of `service`: on its next tally batch, marathon takes back what it holds from there on."""
    async with connect(at["databases"][service]) as connection, connection.transaction():
        await raise_epochs(connection, epoch)
        recovery = Recovery("database", service, "restored from a backup", f"epoch {epoch} was begun", reason)
        await record_recovery(connection, recovery, SystemClock().now())


async def examine_marathon(at: Endpoints) -> MarathonState:
    """Find what the topics hold and marathon's restored database lacks, or holds in an older version."""
    on_topics = await read_topics(at["kafka"])
    async with connect(at["databases"]["marathon"]) as connection:
        stored = await read_database(connection)
    return MarathonState(
        campaigns=select(on_topics.campaigns, stored.campaigns, is_newer),
        cases=select(on_topics.cases, stored.cases, is_newer),
        keys=select(on_topics.keys, stored.keys, lambda _, known: known is None),
        access=select(on_topics.access, stored.access, ne),
        totals=select(on_topics.totals, stored.totals, is_newer),
    )


async def repair_marathon(at: Endpoints, newer: MarathonState, reason: str, ledger_key: bytes) -> None:
    """Put `newer` back, and read the tally topics to their ends before totals are published again.

    The rows of the ledger get salts by `ledger_key`, as before.

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
            await record_recovery(
                connection, Recovery("database", "marathon", "restored from a backup", done, reason), now
            )
        await _catch_up(pool, at["kafka"], ledger_key)
        async with connected(pool) as connection, connection.transaction():
            # Every frozen campaign, not only the newer ones: a repeated run has put all of them back already.
            for stored in await published.documents(connection, await published.versions(connection)):
                if stored.document.state == "frozen":
                    await freeze_again(connection, stored.document)
    finally:
        await pool.close()


async def _catch_up(pool: asyncpg.Pool, bootstrap_servers: str, ledger_key: bytes) -> None:
    ends = {}
    for topic in TOPICS:
        async with open_scan(bootstrap_servers, topic.name) as scan:
            ends[topic.name] = scan.ranges[0].end
    deadline = time.monotonic() + CATCH_UP_S
    async with Tasks() as tasks:
        reader = SubscriptionReader(tally_subscription(ledger_key), pool, bootstrap_servers)
        tasks.start("tally batches", reader.run)
        while True:
            async with connected(pool) as connection:
                read = await _read_up_to(connection)
            if all(read.get(topic, 0) >= end for topic, end in ends.items()):
                return
            if time.monotonic() > deadline:
                raise TransientError("the tally topics were not read to their ends; repeat the command")
            await asyncio.sleep(POLL_S)

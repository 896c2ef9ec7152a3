"""The checker's sources past the services: raw topics, SQL, public documents, logs. Shares no code with them."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CommitFailedError, UnknownMemberIdError

from tests.faults.journal import What
from tests.faults.stand import Stand

TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.1
Raw = ConsumerRecord[bytes, bytes]


class Source(NamedTuple):
    """The service, topics and table of one kind of act."""

    what: What
    service: str
    topic: str
    table: str
    tallies: str

    @property
    def group(self) -> str:
        """The consumer group of its counters."""
        return f"{self.service}.count-{self.table}"


SOURCES: Final = (
    Source("signature", "petitions", "petitions.signatures.v1", "signatures", "petitions.tallies.v1"),
    Source("letter", "letters", "letters.messages.v1", "messages", "letters.tallies.v1"),
)


TOPICS: Final = (
    *(name for source in SOURCES for name in (source.topic, f"{source.topic}.dlq", source.tallies)),
    "marathon.totals.v1",
    "notifications.deliveries.v1",
)
"""The topics on which an act leaves traces."""


class Row(NamedTuple):
    """One row of a counting table."""

    partition: int
    first_offset: int
    counts: bool
    country: str


@dataclass
class StartMarks:
    """The ends of topics and logs at the start of a scenario; earlier contents are ignored."""

    ends: dict[TopicPartition, int] = field(default_factory=dict)
    logs: dict[Path, int] = field(default_factory=dict)


@asynccontextmanager
async def consumer(kafka: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group."""
    consumer_ = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False, max_partition_fetch_bytes=8 << 20)
    try:
        await consumer_.start()
        yield consumer_
    finally:
        await consumer_.stop()


async def _topic_partitions(consumer_: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    deadline = time.monotonic() + 3 * TIMEOUT_S
    await consumer_._client.set_topics([topic])
    while not (partitions := consumer_.partitions_for_topic(topic)):
        # A broker that has just started learns its topics one by one.
        assert time.monotonic() < deadline, f"Kafka has no topic {topic}"
        await asyncio.sleep(0.2)
        await consumer_._client.force_metadata_update()
    return [TopicPartition(topic, number) for number in sorted(partitions)]


async def ends_of(kafka: str, topic: str) -> dict[TopicPartition, int]:
    """Return the end offset of each partition of `topic`."""
    async with consumer(kafka) as consumer_:
        tps = await _topic_partitions(consumer_, topic)
        found: dict[TopicPartition, int] = await consumer_.end_offsets(tps)
        return found


async def read(kafka: str, topic: str, since: dict[TopicPartition, int]) -> list[Raw]:
    """Read every record of `topic` from the offsets `since` (0 if missing) to its end."""
    records: list[Raw] = []
    async with consumer(kafka) as consumer_:
        tps = await _topic_partitions(consumer_, topic)
        ends = await consumer_.end_offsets(tps)
        starts = await consumer_.beginning_offsets(tps)
        for tp in tps:
            consumer_.assign([tp])
            at = max(since.get(tp, 0), starts[tp])
            consumer_.seek(tp, at)
            while await consumer_.position(tp) < ends[tp]:
                fetched = await consumer_.getmany(tp, timeout_ms=500, max_records=5000)
                records += fetched.get(tp, [])
    return records


async def take_start_marks(stand: Stand) -> StartMarks:
    """Take the present ends of topics and logs."""
    marks = StartMarks()
    for topic in TOPICS:
        marks.ends |= await ends_of(stand.kafka, topic)
    marks.logs = {path: path.stat().st_size for path in stand.home.logs.glob("*.log")}
    return marks


@asynccontextmanager
async def database(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of our own."""
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=60)
    try:
        yield connection
    finally:
        await connection.close(timeout=TIMEOUT_S)


async def leader_of(kafka: str, topic: str, partition: int) -> int:
    """Return the number of the broker that leads a partition."""
    async with consumer(kafka) as consumer_:
        await _topic_partitions(consumer_, topic)
        leader: int = consumer_._client.cluster.leader_for_partition(TopicPartition(topic, partition))
        return leader


async def wipe(kafka: str, topic: str) -> None:
    """Recreate `topic` empty, with its partitions and settings."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
        answers: Any = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        settings = {entry[0]: entry[1] for answer in answers for one in answer.resources for entry in one[4]}
        configs = {name: settings[name] for name in ("message.timestamp.type", "flush.messages", "max.message.bytes")}
        await admin.delete_topics([topic])
        recreated = NewTopic(topic, len(described["partitions"]), 1, topic_configs=configs)
        async with asyncio.timeout(TIMEOUT_S * 3):
            # The name is free once the broker has deleted what lay under it.
            while (await admin.create_topics([recreated])).topic_errors[0][1] != 0:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    finally:
        await admin.close()


async def members(kafka: str, group: str) -> int:
    """Count the members of `group`."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([group])
        ((_, _, _, _, _, found, *_),) = answer.groups
        return len(found)
    finally:
        await admin.close()


async def reset_group_offsets(kafka: str, group: str, topic: str) -> None:
    """Reset the offsets that Kafka stores for `group` to 0."""
    consumer_ = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)
    await consumer_.start()
    try:
        tps = await _topic_partitions(consumer_, topic)
        consumer_.assign(tps)
        async with asyncio.timeout(3 * TIMEOUT_S):
            while True:
                # A member that was stopped stays in its group until its session ends.
                with suppress(CommitFailedError, UnknownMemberIdError):
                    await consumer_.commit(dict.fromkeys(tps, 0))
                    return
                await asyncio.sleep(0.5)
    finally:
        await consumer_.stop()


async def rows(stand: Stand, source: Source, campaign: str) -> dict[bytes, Row]:
    """Read the rows of `campaign`, by their keys."""
    query = f"""
SELECT key, partition, first_offset, state IN ('r', 'c') AND NOT invalidated, country
FROM {source.table} AS actions JOIN dimensions ON dimensions.id = actions.dimensions WHERE campaign = $1
"""  # noqa: S608  a table of ours
    async with database(stand.databases[source.service]) as connection:
        return {key: Row(*rest) for key, *rest in await connection.fetch(query, campaign)}


_POSITIONS: Final = "SELECT partition, next FROM positions WHERE consumer_group = $1 AND topic = $2"


async def positions(stand: Stand, source: Source) -> dict[TopicPartition, int]:
    """Read the position of each partition."""
    async with database(stand.databases[source.service]) as connection:
        found = await connection.fetch(_POSITIONS, source.group, source.topic)
    return {TopicPartition(source.topic, number): following for number, following in found}


async def wait_for_backlog(stand: Stand) -> float:
    """Wait until all present records are counted, through outages; return the monotonic time."""
    ends: dict[str, dict[TopicPartition, int]] = {}
    while True:
        with suppress(Exception):  # a part is away: try again
            for source in SOURCES:
                if source.topic not in ends:
                    ends[source.topic] = await ends_of(stand.kafka, source.topic)
            tps = [(tp, end) for source in SOURCES for tp, end in ends[source.topic].items()]
            counted = {tp: next_ for source in SOURCES for tp, next_ in (await positions(stand, source)).items()}
            if all(counted[tp] >= end for tp, end in tps):
                return time.monotonic()
        await asyncio.sleep(POLL_S)


async def pending_records(stand: Stand) -> int:
    """Count the unpublished rows of the outboxes."""
    total = 0
    for service in ("petitions", "letters", "marathon"):
        async with database(stand.databases[service]) as connection:
            total += await connection.fetchval("SELECT count(*) FROM outbox")
    return total


async def halted(stand: Stand) -> list[str]:
    """List the sources whose tally batches contradict marathon's ledger."""
    async with database(stand.databases["marathon"]) as connection:
        found = await connection.fetch("SELECT source, partition, halted FROM sources WHERE halted IS NOT NULL")
    return [f"{source}/{partition}: {why}" for source, partition, why in found]


def totals(stand: Stand, campaign: str) -> dict[str, Any] | None:
    """Fetch the public document; None if it is not available."""
    try:
        with urllib.request.urlopen(  # noqa: S310  our own loopback address
            f"{stand.origin('marathon')}/v1/campaigns/{campaign}/totals", timeout=TIMEOUT_S
        ) as response:
            document: dict[str, Any] = json.loads(response.read())
            return document
    except (OSError, ValueError):
        return None


def status_of(stand: Stand, source: Source, receipt: str) -> str:
    """Fetch the status of a receipt from the intake."""
    path = "signatures" if source.what == "signature" else "messages"
    try:
        with urllib.request.urlopen(  # noqa: S310  our own loopback address
            f"{stand.origin(source.service)}/v1/{path}/{receipt}", timeout=TIMEOUT_S
        ) as response:
            return str(json.loads(response.read())["status"])
    except urllib.error.HTTPError as error:
        return f"{error.code}"
    except (OSError, ValueError):
        return "silence"


def metric_values(stand: Stand, name: str) -> dict[str, float]:
    """Fetch the metrics of the process `name`, by name and labels as in the text; empty if it does not answer."""
    try:
        with urllib.request.urlopen(stand.metrics(name), timeout=TIMEOUT_S) as response:  # noqa: S310  loopback
            text = response.read().decode()
    except OSError:
        return {}
    return {name: float(value) for name, value in re.findall(r"^([a-z_]+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


class Tallies:
    """The tally batches of a stand, read incrementally."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._read: dict[TopicPartition, int] = {}
        self._expected: Counter[tuple[str, int]] = Counter()
        self._seen: dict[tuple[str, int, int, int], bytes] = {}
        self.sums: Counter[tuple[str, str]] = Counter()
        """The sums of the batches, by source and campaign."""
        self.faults: list[str] = []

    async def read_on(self) -> None:
        """Read the batches published since."""
        for source in SOURCES:
            for record in await read(self._stand.kafka, source.tallies, self._read):
                self._read[TopicPartition(source.tallies, record.partition)] = record.offset + 1
                self._add(record.value or b"{}")

    def _add(self, raw: bytes) -> None:
        tally: dict[str, Any] = json.loads(raw)
        tp = (tally["source"], tally["partition"])
        name = (*tp, tally["first"], tally["part"])
        if name in self._seen:
            # A relay that died after publishing publishes again: the same, or it is a fault.
            if self._seen[name] != raw:
                self.faults.append(f"F: the batch {name} was published twice with different content")
            return
        self._seen[name] = raw
        if tally["first"] != self._expected[tp]:
            self.faults.append(f"F: a gap or an overlap before {name}: {self._expected[tp]} was to come")
        if tally["part"] == tally["parts"] - 1:
            self._expected[tp] = tally["next"]
        for delta in tally["deltas"]:
            self.sums[tally["source"], delta["campaign"]] += delta["change"]

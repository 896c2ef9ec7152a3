"""What the checker looks at, past the services: raw topics, SQL, public documents, logs. Shares no code with them."""

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

WITHIN_S: Final = 10.0
POLL_S: Final = 0.1
Raw = ConsumerRecord[bytes, bytes]


class Source(NamedTuple):
    """Where one kind of act is taken, kept and told."""

    what: What
    service: str
    topic: str
    table: str
    tallies: str


SOURCES: Final = (
    Source("signature", "petitions", "petitions.signatures.v1", "signatures", "petitions.tallies.v1"),
    Source("letter", "letters", "letters.messages.v1", "messages", "letters.tallies.v1"),
)


TOPICS: Final = (
    *(name for source in SOURCES for name in (source.topic, f"{source.topic}.dlq", source.tallies)),
    "marathon.totals.v1",
    "notifications.deliveries.v1",
)
"""Where an act leaves traces."""


class Row(NamedTuple):
    """One row of a counting table."""

    partition: int
    first_offset: int
    counts: bool
    country: str


@dataclass
class Marks:
    """Where the topics ended and the logs were when a scenario began: what came before is not its business."""

    ends: dict[TopicPartition, int] = field(default_factory=dict)
    logs: dict[Path, int] = field(default_factory=dict)


@asynccontextmanager
async def consumer(kafka: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group."""
    one = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False, max_partition_fetch_bytes=8 << 20)
    try:
        await one.start()
        yield one
    finally:
        await one.stop()


async def _places(one: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    deadline = time.monotonic() + 3 * WITHIN_S
    await one._client.set_topics([topic])
    while not (partitions := one.partitions_for_topic(topic)):
        # A broker that has just started learns its topics one by one.
        assert time.monotonic() < deadline, f"Kafka has no topic {topic}"
        await asyncio.sleep(0.2)
        await one._client.force_metadata_update()
    return [TopicPartition(topic, number) for number in sorted(partitions)]


async def ends_of(kafka: str, topic: str) -> dict[TopicPartition, int]:
    """The end offset of each partition of `topic`."""
    async with consumer(kafka) as one:
        places = await _places(one, topic)
        found: dict[TopicPartition, int] = await one.end_offsets(places)
        return found


async def read(kafka: str, topic: str, since: dict[TopicPartition, int]) -> list[Raw]:
    """Every record of `topic` from the offsets `since` (0 where there is none) to its end."""
    records: list[Raw] = []
    async with consumer(kafka) as one:
        places = await _places(one, topic)
        ends = await one.end_offsets(places)
        starts = await one.beginning_offsets(places)
        for place in places:
            one.assign([place])
            at = max(since.get(place, 0), starts[place])
            one.seek(place, at)
            while await one.position(place) < ends[place]:
                fetched = await one.getmany(place, timeout_ms=500, max_records=5000)
                records += fetched.get(place, [])
    return records


async def mark(stand: Stand) -> Marks:
    """Where everything stands now."""
    marks = Marks()
    for topic in TOPICS:
        marks.ends |= await ends_of(stand.kafka, topic)
    marks.logs = {path: path.stat().st_size for path in stand.home.logs.glob("*.log")}
    return marks


@asynccontextmanager
async def database(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of our own."""
    connection = await asyncpg.connect(url, timeout=WITHIN_S, command_timeout=60)
    try:
        yield connection
    finally:
        await connection.close(timeout=WITHIN_S)


async def leader_of(kafka: str, topic: str, partition: int) -> int:
    """The number of the broker that leads a partition."""
    async with consumer(kafka) as one:
        await _places(one, topic)
        leader: int = one._client.cluster.leader_for_partition(TopicPartition(topic, partition))
        return leader


async def wipe(kafka: str, topic: str) -> None:
    """Give `topic` an empty log, with the partitions and the settings that it has."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
        answers: Any = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        settings = {entry[0]: entry[1] for answer in answers for one in answer.resources for entry in one[4]}
        kept = {name: settings[name] for name in ("message.timestamp.type", "flush.messages", "max.message.bytes")}
        await admin.delete_topics([topic])
        again = NewTopic(topic, len(described["partitions"]), 1, topic_configs=kept)
        async with asyncio.timeout(WITHIN_S * 3):
            # The name is free once the broker has deleted what lay under it.
            while (await admin.create_topics([again])).topic_errors[0][1] != 0:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    finally:
        await admin.close()


async def members(kafka: str, group: str) -> int:
    """How many members `group` has."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups([group])
        ((_, _, _, _, _, found, *_),) = answer.groups
        return len(found)
    finally:
        await admin.close()


async def set_back(kafka: str, group: str, topic: str) -> None:
    """Set the offsets that Kafka keeps for `group` back to 0."""
    one = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)
    await one.start()
    try:
        places = await _places(one, topic)
        one.assign(places)
        async with asyncio.timeout(3 * WITHIN_S):
            while True:
                # A member that was stopped stays in its group until its session ends.
                with suppress(CommitFailedError, UnknownMemberIdError):
                    await one.commit(dict.fromkeys(places, 0))
                    return
                await asyncio.sleep(0.5)
    finally:
        await one.stop()


async def rows(stand: Stand, source: Source, campaign: str) -> dict[bytes, Row]:
    """The rows of `campaign`, by their keys."""
    query = f"""
SELECT key, partition, first_offset, state IN ('r', 'c') AND NOT invalidated, country
FROM {source.table} AS held JOIN dimensions ON dimensions.id = held.dimensions WHERE campaign = $1
"""  # noqa: S608  a table of ours
    async with database(stand.databases[source.service]) as connection:
        return {key: Row(*rest) for key, *rest in await connection.fetch(query, campaign)}


async def positions(stand: Stand, source: Source) -> dict[TopicPartition, int]:
    """How far each partition is counted."""
    async with database(stand.databases[source.service]) as connection:
        found = await connection.fetch("SELECT partition, next FROM positions WHERE topic = $1", source.topic)
    return {TopicPartition(source.topic, number): following for number, following in found}


async def backlog_gone(stand: Stand) -> float:
    """When all that is in the topics now was counted, by the monotonic clock; whatever is away is waited for."""
    ends: dict[str, dict[TopicPartition, int]] = {}
    while True:
        with suppress(Exception):  # whatever is away at the moment: nothing is known
            for source in SOURCES:
                if source.topic not in ends:
                    ends[source.topic] = await ends_of(stand.kafka, source.topic)
            places = [(place, end) for source in SOURCES for place, end in ends[source.topic].items()]
            counted = {place: next_ for source in SOURCES for place, next_ in (await positions(stand, source)).items()}
            if all(counted[place] >= end for place, end in places):
                return time.monotonic()
        await asyncio.sleep(POLL_S)


async def waiting(stand: Stand) -> int:
    """How many rows of the outboxes have not left."""
    total = 0
    for service in ("petitions", "letters", "marathon"):
        async with database(stand.databases[service]) as connection:
            total += await connection.fetchval("SELECT count(*) FROM outbox")
    return total


async def halted(stand: Stand) -> list[str]:
    """The sources whose tally batches contradict marathon's ledger."""
    async with database(stand.databases["marathon"]) as connection:
        found = await connection.fetch("SELECT source, partition, halted FROM sources WHERE halted IS NOT NULL")
    return [f"{source}/{partition}: {why}" for source, partition, why in found]


def totals(stand: Stand, campaign: str) -> dict[str, Any] | None:
    """The public document; None where it is not to be had at the moment."""
    try:
        with urllib.request.urlopen(  # noqa: S310  our own loopback address
            f"{stand.origin('marathon')}/v1/campaigns/{campaign}/totals", timeout=WITHIN_S
        ) as answer:
            document: dict[str, Any] = json.loads(answer.read())
            return document
    except (OSError, ValueError):
        return None


def status_of(stand: Stand, source: Source, receipt: str) -> str:
    """What the intake says of a receipt."""
    path = "signatures" if source.what == "signature" else "messages"
    try:
        with urllib.request.urlopen(  # noqa: S310  our own loopback address
            f"{stand.origin(source.service)}/v1/{path}/{receipt}", timeout=WITHIN_S
        ) as answer:
            return str(json.loads(answer.read())["status"])
    except urllib.error.HTTPError as error:
        return f"{error.code}"
    except (OSError, ValueError):
        return "silence"


def measured(stand: Stand, name: str) -> dict[str, float]:
    """The metrics of the process `name`, by name and labels as they stand in the text; empty where it is silent."""
    try:
        with urllib.request.urlopen(stand.metrics(name), timeout=WITHIN_S) as answer:  # noqa: S310  loopback
            text = answer.read().decode()
    except OSError:
        return {}
    return {name: float(value) for name, value in re.findall(r"^([a-z_]+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}


def resident(pid: int) -> int:
    """The memory of a process in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


class Tallies:
    """The tally batches of a stand, read on from where they were read last."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._read: dict[TopicPartition, int] = {}
        self._expected: Counter[tuple[str, int]] = Counter()
        self._seen: dict[tuple[str, int, int, int], bytes] = {}
        self.sums: Counter[tuple[str, str]] = Counter()
        """What the batches add up to, by source and campaign."""
        self.faults: list[str] = []

    async def read_on(self) -> None:
        """Read what has come since."""
        for source in SOURCES:
            for record in await read(self._stand.kafka, source.tallies, self._read):
                self._read[TopicPartition(source.tallies, record.partition)] = record.offset + 1
                self._add(record.value or b"{}")

    def _add(self, raw: bytes) -> None:
        tally: dict[str, Any] = json.loads(raw)
        place = (tally["source"], tally["partition"])
        name = (*place, tally["first"], tally["part"])
        if name in self._seen:
            # A relay that died after publishing publishes again: the same, or it is a fault.
            if self._seen[name] != raw:
                self.faults.append(f"F: the batch {name} was published twice with different content")
            return
        self._seen[name] = raw
        if tally["first"] != self._expected[place]:
            self.faults.append(f"F: a gap or an overlap before {name}: {self._expected[place]} was to come")
        if tally["part"] == tally["parts"] - 1:
            self._expected[place] = tally["next"]
        for delta in tally["deltas"]:
            self.sums[tally["source"], delta["campaign"]] += delta["change"]

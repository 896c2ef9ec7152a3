"""Judges from outside what must hold whatever happens. Shares no code with the services.

The letters are those of the invariants: A nothing acknowledged is lost, B each is counted once, C nothing is invented,
F tally batches are contiguous and sum to the totals, G the backlog drains, H no false promise.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.faults.load import Journal

DRAIN_WITHIN_S: Final = 60.0

_ROWS = """
SELECT count(*) FILTER (WHERE state IN ('r', 'c') AND NOT invalidated) AS counted, count(*) AS rows
FROM signatures JOIN dimensions ON dimensions.id = signatures.dimensions WHERE campaign = $1
"""


@dataclass(frozen=True)
class System:
    """Where to look: marathon's origin, Kafka's address, the databases, and the campaign under test."""

    marathon: str
    kafka: str
    databases: dict[str, str]
    campaign: str


async def drained(system: System, people: int) -> float:
    """Wait until the public total says `people`; the seconds that took. Fails after a minute (G)."""
    began = time.monotonic()
    async with httpx.AsyncClient(timeout=10) as client:
        while True:
            total = await _total(client, system)
            if total == people:
                return time.monotonic() - began
            assert total <= people, f"C: {total} counted, {people} signed"
            assert time.monotonic() < began + DRAIN_WITHIN_S, f"G: {total} of {people} counted after a minute"
            await asyncio.sleep(0.1)


async def judge(system: System, journal: Journal) -> None:
    """Fail if anything that must hold does not. The load has stopped and everybody tried was acknowledged."""
    assert journal.acknowledged == journal.tried
    assert journal.without_retry_after == 0, "H: a 503 without Retry-After"
    people = len(journal.acknowledged)
    await drained(system, people)
    counted, rows = await _rows(system)
    assert rows == counted == people, f"A, B: {people} signed, {rows} rows, {counted} counted"
    tallies = await _read(system.kafka, "petitions.tallies.v1")
    _contiguous(tallies)
    deltas = [delta for tally in _distinct(tallies) for delta in tally["deltas"]]
    summed = sum(delta["change"] for delta in deltas if delta["campaign"] == system.campaign)
    assert summed == people, f"F: the tally batches sum to {summed}, {people} signed"


async def _total(client: httpx.AsyncClient, system: System) -> int:
    try:
        answer = await client.get(f"{system.marathon}/v1/campaigns/{system.campaign}/totals")
    except httpx.TransportError:
        return 0
    return int(answer.json()["total"]) if answer.status_code == httpx.codes.OK else 0


async def _rows(system: System) -> tuple[int, int]:
    connection = await asyncpg.connect(system.databases["petitions"], timeout=10)
    try:
        (row,) = await connection.fetch(_ROWS, system.campaign)
        return row["counted"], row["rows"]
    finally:
        await connection.close(timeout=10)


async def _read(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    """Every value of `topic`, from its start, without a group."""
    values: list[dict[str, Any]] = []
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False) as consumer:
        places = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic) or {0}]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        for place in places:
            while await consumer.position(place) < ends[place]:
                fetched = await consumer.getmany(place, timeout_ms=1000)
                values += [json.loads(record.value) for records in fetched.values() for record in records]
    return values


def _distinct(tallies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`tallies` without repeats: a relay that died after publishing publishes again."""
    return list({(t["source"], t["epoch"], t["partition"], t["first"], t["part"]): t for t in tallies}.values())


def _contiguous(tallies: list[dict[str, Any]]) -> None:
    """Each source partition's batches follow one another without gap or overlap, and repeats say the same (F)."""
    expected: Counter[tuple[str, int]] = Counter()
    seen: dict[tuple[str, int, int, int], dict[str, Any]] = {}
    for tally in tallies:
        place = (tally["source"], tally["partition"])
        name = (*place, tally["first"], tally["part"])
        if name in seen:
            assert seen[name] == tally, f"F: {name} was published twice with different content"
            continue
        seen[name] = tally
        assert tally["first"] == expected[place], f"F: a gap or an overlap before {name}"
        if tally["part"] == tally["parts"] - 1:
            expected[place] = tally["next"]

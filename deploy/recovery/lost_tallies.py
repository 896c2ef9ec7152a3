"""Tally batches that are lost for ever: what the rows say and the ledger does not.

A range that was counted, but whose tally batch is neither in the ledger nor on its topic, is a gap. What it changed
follows from the rows: their sum, less what the ledger has and what its topic still holds. How many people had taken
their action back in it does not, so `withdrawn` of a filled gap stays 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from deploy.local.endpoints import Endpoints
from deploy.recovery.draining import drain
from deploy.recovery.tally_sums import CONNECT_S, STATEMENT_S, Cell, moment, parts_in, rows, sum_of, told
from services.marathon.actions.fill_gaps import fill_gaps
from services.marathon.domain.ledger import Head, Part, SourcePartition
from services.marathon.storage import ledger
from shared.clock import SystemClock, rfc3339
from shared.counting.counted_topic import CountedTopic
from shared.counting.tally_batches import DELTAS_A_PART
from shared.events.tallies import ActionsCounted, Delta
from shared.kafka.topic_scan import open_scan
from shared.recoveries import Recovery, note

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Gaps:
    """What the ledger lacks of one source partition whose rows hold everything below `counted`.

    `ranges` are the gaps, `there` the parts that the topic holds between and behind them, `missing` what the gaps
    changed together.
    """

    place: SourcePartition
    counted: int
    head: Head
    ranges: Sequence[tuple[int, int]]
    there: Sequence[Part]
    missing: Mapping[Cell, int]
    moved_at: datetime

    @property
    def change(self) -> int:
        """How far the gaps move the total."""
        return sum(self.missing.values())


@dataclass(slots=True, eq=False)
class Findings:
    """What was found of one counted topic. `read` and `end` are how far its tally topic was read, and its end."""

    counted: CountedTopic
    read: int
    end: int
    gaps: list[Gaps] = field(default_factory=list)

    @property
    def another_log(self) -> bool:
        """Whether the tally topic is shorter than what was read of it."""
        return self.read > self.end


class _There(NamedTuple):
    """What the tally topic holds beyond the ledger, in order, each part once; its end; and the source partitions that
    tell of a restored database, which marathon has to hear of first.
    """

    parts: dict[SourcePartition, list[Part]]
    end: int
    restored: set[SourcePartition]


async def examine(at: Endpoints, counted: CountedTopic) -> Findings:
    """What the ledger lacks of `counted`. Sends what waits in the counters' outbox; changes nothing else.

    Raises:
        SetupError: what waits in the outbox cannot be sent. KafkaError, OSError, asyncpg.PostgresError: a part is away.
    """
    counted_rows = await rows(at["databases"][counted.topic.owner], counted)
    await drain(at["databases"][counted.topic.owner], at["kafka"], counted.topic.owner)
    async with moment(at["databases"]["marathon"]) as connection:
        heads = await ledger.heads(connection)
        read = (await ledger.readings(connection)).get(counted.tallies.name, 0)
        there = await _there(at["kafka"], counted, heads)
        findings = Findings(counted, read, there.end)
        for place, found in sorted(counted_rows.items()):
            head = heads.get(place, Head())
            chain = _chain(head.next, found.next, there.parts.get(place, ()))
            ranges = list(_gaps(head.next, found.next, chain))
            if ranges and place not in there.restored:
                known = await told(connection, place)
                known.update(sum_of(part.batch for part in chain))
                missing = {cell: change for cell in found.cells | known if (change := found.cells[cell] - known[cell])}
                findings.gaps.append(Gaps(place, found.next, head, ranges, chain, missing, found.moved_at))
    return findings


async def _there(kafka: str, counted: CountedTopic, heads: Mapping[SourcePartition, Head]) -> _There:
    found: dict[SourcePartition, dict[tuple[int, int], Part]] = {}
    restored: set[SourcePartition] = set()
    async with open_scan(kafka, counted.tallies.name) as scan:
        async with aclosing(scan.batches(0)) as batches:
            async for batch in batches:
                for part in parts_in(batch):
                    head = heads.get(part.place, Head())
                    if part.batch.epoch > head.epoch:
                        restored.add(part.place)
                    elif part.batch.first >= head.next and part.batch.epoch == head.epoch:
                        found.setdefault(part.place, {}).setdefault((part.batch.first, part.batch.part), part)
        end = scan.ranges[0].end
    return _There({place: [parts[each] for each in sorted(parts)] for place, parts in found.items()}, end, restored)


def _chain(first: int, counted: int, parts: Sequence[Part]) -> list[Part]:
    """Of `parts` those of complete tally batches within what was counted, in order and without overlap."""
    chain: list[Part] = []
    at = first
    for begin in sorted({part.batch.first for part in parts}):
        same = [part for part in parts if part.batch.first == begin]
        if begin >= at and len(same) == same[0].batch.parts and same[0].batch.next <= counted:
            chain += same
            at = same[0].batch.next
    return chain


def _gaps(first: int, counted: int, chain: Sequence[Part]) -> Iterator[tuple[int, int]]:
    at = first
    for part in chain:
        if part.batch.first > at:
            yield at, part.batch.first
        at = part.batch.next
    if at < counted:
        yield at, counted


async def mend(at: Endpoints, findings: Findings, reason: str, *, anew: bool) -> list[str]:
    """Fill the gaps from what the rows say, each in the public record, and say what was done.

    `anew` is for a tally topic that is another log: it is read from its start.

    Raises:
        SetupError: the ledger has moved meanwhile.
    """
    said = []
    topic = findings.counted.tallies.name
    connection = await asyncpg.connect(at["databases"]["marathon"], timeout=CONNECT_S, command_timeout=STATEMENT_S)
    try:
        async with connection.transaction():
            now = SystemClock().now()
            if anew:
                done = f"{topic} is read from its start"
                await ledger.begin_anew(connection, topic)
                found = f"ends at {findings.end}, read up to {findings.read}"
                await note(connection, Recovery("ledger", topic, found, done, reason), now)
                said.append(done)
            for gaps in findings.gaps:
                await fill_gaps(connection, topic, _parts(gaps, now))
                done = f"filled, the total moved by {gaps.change}"
                await note(connection, Recovery("ledger", str(gaps.place), words(gaps), done, reason), now)
                said.append(f"{gaps.place}: {words(gaps)}: {done}")
    finally:
        await connection.close(timeout=CONNECT_S)
    return said


def words(gaps: Gaps) -> str:
    """Which offsets' tally batches are missing."""
    ranges = ", ".join(f"{first} to {next_ - 1}" for first, next_ in gaps.ranges)
    return f"the tally batches of offsets {ranges} are lost"


def _parts(gaps: Gaps, now: float) -> list[Part]:
    """What fills the gaps and what stands between them, in order. All that is missing stands in the first gap."""
    deltas = [_delta(cell, change) for cell, change in sorted(gaps.missing.items(), key=str)]
    filled: list[Part] = []
    for number, range_ in enumerate(gaps.ranges):
        filled += _filling(gaps, range_, deltas if number == 0 else [], now)
    return sorted([*filled, *gaps.there], key=lambda part: (part.batch.first, part.batch.part))


def _filling(gaps: Gaps, range_: tuple[int, int], deltas: list[Delta], now: float) -> Iterator[Part]:
    counted_at = rfc3339(now)
    portions = [deltas[at : at + DELTAS_A_PART] for at in range(0, len(deltas), DELTAS_A_PART)] or [[]]
    for number, portion in enumerate(portions):
        batch = ActionsCounted(
            source=gaps.place.source,
            epoch=gaps.head.epoch,
            partition=gaps.place.partition,
            first=range_[0],
            next=range_[1],
            part=number,
            parts=len(portions),
            counted_at=counted_at,
            accepted_until=gaps.head.accepted_until or rfc3339(gaps.moved_at.timestamp()),
            deltas=portion,
            recovered="tallies-lost",
        )
        yield Part.of(gaps.head.read, batch, _encode(batch))


def _delta(cell: Cell, change: int) -> Delta:
    fields: dict[str, Any] = cell._asdict()
    return Delta(**fields, change=change)

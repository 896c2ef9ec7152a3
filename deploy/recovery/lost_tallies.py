"""Recompute lost tally batches from the rows, and add them to the ledger.

A range that was counted, but whose tally batch is neither in the ledger nor on its topic, is a gap. Its changes follow
from the rows: their sum, less what the ledger has and what its topic still holds. The number of withdrawals does not,
so `withdrawn` of a filled gap stays 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from aiokafka import TopicPartition

from deploy.local.connections import STATEMENT_S, connect, snapshot
from deploy.local.endpoints import Endpoints
from deploy.recovery.outbox_drain import drain
from deploy.recovery.tally_sums import Cell, decode_parts, sum_batches, sum_ledger, sum_rows
from services.marathon.actions.fill_gaps import fill_gaps
from services.marathon.consumers.tallies import GROUP
from services.marathon.domain.ledger import ChainHead, Part, SourcePartition
from services.marathon.storage import ledger
from shared.clock import SystemClock, rfc3339
from shared.counting.counted_topic import CountedTopic
from shared.counting.tally_batches import MAX_DELTAS_PER_PART
from shared.events.tallies import ActionsCounted, Delta
from shared.kafka.subscription_log import is_replaced
from shared.kafka.subscription_positions import StoredPosition, read_positions
from shared.kafka.topic_scan import open_scan
from shared.recoveries import Recovery, record_recovery

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class LedgerGaps:
    """The gaps in the ledger of one source partition whose rows hold everything below `counted`.

    `ranges` are the gaps, `available_parts` the parts that the topic holds between and behind them, `missing` the sum
    of the gaps.
    """

    source: SourcePartition
    counted: int
    head: ChainHead
    ranges: Sequence[tuple[int, int]]
    available_parts: Sequence[Part]
    missing: Mapping[Cell, int]
    moved_at: datetime

    @property
    def change(self) -> int:
        """The change of the total by the gaps."""
        return sum(self.missing.values())


@dataclass(slots=True, eq=False)
class Findings:
    """The gaps of one counted topic. Its tally topic was read up to `read_up_to` and ends at `end`; `topic_replaced`
    says that it is another log than the one that was read.
    """

    counted: CountedTopic
    read_up_to: int
    end: int
    topic_replaced: bool
    gaps: list[LedgerGaps] = field(default_factory=list)


async def examine(at: Endpoints, counted: CountedTopic) -> Findings:
    """Find the gaps in the ledger of `counted`. Sends the counters' pending outbox; changes nothing else.

    Raises:
        SetupError: the pending outbox cannot be sent. KafkaError, OSError, asyncpg.PostgresError: a part is away.
    """
    counted_rows = await sum_rows(at["databases"][counted.topic.owner], counted)
    await drain(at["databases"][counted.topic.owner], at["kafka"], counted.topic.owner)
    async with snapshot(at["databases"]["marathon"]) as connection:
        heads = await ledger.heads(connection)
        stored = await read_positions(connection, GROUP)
        position = stored.get(TopicPartition(counted.tallies.name, 0), StoredPosition(0, None))
        findings, parts, restored = await _read_topic(at["kafka"], counted, heads, position)
        for source, rows in sorted(counted_rows.items()):
            head = heads.get(source, ChainHead())
            chain = _chain(head.next, rows.next, parts.get(source, ()))
            ranges = list(_gaps(head.next, rows.next, chain))
            if ranges and source not in restored:
                accounted = await sum_ledger(connection, source)
                accounted.update(sum_batches(part.batch for part in chain))
                missing = {
                    cell: change for cell in rows.cells | accounted if (change := rows.cells[cell] - accounted[cell])
                }
                findings.gaps.append(LedgerGaps(source, rows.next, head, ranges, chain, missing, rows.moved_at))
    return findings


async def _read_topic(
    kafka: str, counted: CountedTopic, heads: Mapping[SourcePartition, ChainHead], position: StoredPosition
) -> tuple[Findings, dict[SourcePartition, list[Part]], set[SourcePartition]]:
    """Return findings without gaps, the parts that the topic holds beyond the ledger, and the restored partitions.

    The parts are in order and each once. Of the restored ones the topic has a newer epoch, which marathon has to read
    first.
    """
    found: dict[SourcePartition, dict[tuple[int, int], Part]] = {}
    restored: set[SourcePartition] = set()
    async with open_scan(kafka, counted.tallies.name) as scan:
        async with aclosing(scan.batches(0)) as batches:
            async for batch in batches:
                for part in decode_parts(batch):
                    head = heads.get(part.source, ChainHead())
                    if part.batch.epoch > head.epoch:
                        restored.add(part.source)
                    elif part.batch.first >= head.next and part.batch.epoch == head.epoch:
                        found.setdefault(part.source, {}).setdefault((part.batch.first, part.batch.part), part)
        end = scan.ranges[0].end
        replaced = position.next_offset > end or await is_replaced(scan, 0, position)
    in_order = {source: [parts[key] for key in sorted(parts)] for source, parts in found.items()}
    return Findings(counted, position.next_offset, end, replaced), in_order, restored


def _chain(first: int, counted: int, parts: Sequence[Part]) -> list[Part]:
    """Select the parts of complete tally batches below `counted`, in order and without overlap."""
    chain: list[Part] = []
    end = first
    for start in sorted({part.batch.first for part in parts}):
        batch_parts = [part for part in parts if part.batch.first == start]
        batch = batch_parts[0].batch
        if start >= end and len(batch_parts) == batch.parts and batch.next <= counted:
            chain += batch_parts
            end = batch.next
    return chain


def _gaps(first: int, counted: int, chain: Sequence[Part]) -> Iterator[tuple[int, int]]:
    end = first
    for part in chain:
        if part.batch.first > end:
            yield end, part.batch.first
        end = part.batch.next
    if end < counted:
        yield end, counted


async def repair(at: Endpoints, findings: Findings, reason: str, *, ledger_key: bytes, from_start: bool) -> list[str]:
    """Fill the gaps with what the rows add up to, each in the public record, and describe what was done.

    `ledger_key` salts the rows. `from_start` is for a tally topic that is another log: it is read from its start.

    Raises:
        SetupError: the ledger has moved meanwhile.
    """
    lines = []
    topic = findings.counted.tallies.name
    async with (
        connect(at["databases"]["marathon"], command_timeout=STATEMENT_S) as connection,
        connection.transaction(),
    ):
        now = SystemClock().now()
        if from_start:
            done = f"{topic} is read from its start"
            await ledger.reset_position(connection, GROUP, topic)
            found = f"ends at {findings.end}, read up to {findings.read_up_to}"
            await record_recovery(connection, Recovery("ledger", topic, found, done, reason), now)
            lines.append(done)
        for gaps in findings.gaps:
            await fill_gaps(connection, GROUP, topic, _filled_parts(gaps, now), ledger_key)
            found, done = describe_gaps(gaps), f"filled, the total moved by {gaps.change}"
            await record_recovery(connection, Recovery("ledger", str(gaps.source), found, done, reason), now)
            lines.append(f"{gaps.source}: {found}: {done}")
    return lines


def describe_gaps(gaps: LedgerGaps) -> str:
    """Name the offsets whose tally batches are missing."""
    ranges = ", ".join(f"{first} to {next_ - 1}" for first, next_ in gaps.ranges)
    return f"the tally batches of offsets {ranges} are lost"


def _filled_parts(gaps: LedgerGaps, now: float) -> list[Part]:
    """Return parts for the gaps and those between them, in order. The first gap gets everything that is missing."""
    deltas = [Delta(**cell._asdict(), change=change) for cell, change in sorted(gaps.missing.items(), key=str)]
    filled: list[Part] = []
    for number, range_ in enumerate(gaps.ranges):
        filled += _gap_parts(gaps, range_, deltas if number == 0 else [], now)
    return sorted([*filled, *gaps.available_parts], key=lambda part: (part.batch.first, part.batch.part))


def _gap_parts(gaps: LedgerGaps, range_: tuple[int, int], deltas: list[Delta], now: float) -> Iterator[Part]:
    counted_at = rfc3339(now)
    portions = [deltas[at : at + MAX_DELTAS_PER_PART] for at in range(0, len(deltas), MAX_DELTAS_PER_PART)] or [[]]
    for number, portion in enumerate(portions):
        batch = ActionsCounted(
            source=gaps.source.source,
            epoch=gaps.head.epoch,
            partition=gaps.source.partition,
            first=range_[0],
            next=range_[1],
            part=number,
            parts=len(portions),
            counted_at=counted_at,
            accepted_until=gaps.head.accepted_until or rfc3339(gaps.moved_at.timestamp()),
            deltas=portion,
            recovered="tallies-lost",
        )
        yield Part.of(gaps.head.tally_offset, batch, _encode(batch))

"""Apply tally batches: append each to the ledger and add it to the totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import asyncpg

from services.marathon.domain.cells import TotalsUpdate
from services.marathon.domain.ledger import ChainHead, Outcome, Part, Restore, SourcePartition, fold, invalid_reason
from services.marathon.storage import cells, ledger
from shared.clock import parse_rfc3339
from shared.events.tallies import ActionsCounted

_UNREADABLE: Final = "a record that cannot be read"
_NOT_A_ROW_END: Final = "a restore to the middle of a counted range"


@dataclass(frozen=True, slots=True)
class TallyRecords:
    """Consecutive records of a tally topic.

    `parts` are the records that could be decoded, `unreadable` the offsets of the others.
    """

    topic: str
    parts: list[Part] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)


@dataclass(slots=True)
class ApplyResult:
    """The result of `apply_tallies`."""

    rows: int = 0
    repeats: int = 0
    halt_reasons: dict[SourcePartition, str] = field(default_factory=dict)


async def apply_tallies(connection: asyncpg.Connection, records: TallyRecords, ledger_key: bytes) -> ApplyResult:
    """Add `records` to the ledger and the totals, in the caller's transaction. Repeats change nothing; a batch that
    contradicts the ledger halts its source partition.

    An unreadable record halts a source partition of its own, partition -1 of the tally topic: this raises an alarm, and
    if the record was a tally batch, the gap that it leaves halts its source.
    """
    result = ApplyResult()
    parts: Sequence[Part] = records.parts
    while parts:
        outcome = await _apply_until_restore(connection, records.topic, parts, result, ledger_key)
        if outcome.restore is not None:
            part = parts[outcome.processed]
            result.halt_reasons |= await _restore(connection, records.topic, outcome.restore, part)
        parts = parts[outcome.processed :]
    if records.unreadable:
        source = SourcePartition(records.topic, -1)
        halt_offsets = {source: records.unreadable[0]}
        await ledger.put_heads(connection, records.topic, {source: ChainHead(halt_reason=_UNREADABLE)}, halt_offsets)
        result.halt_reasons[source] = _UNREADABLE
    return result


async def _apply_until_restore(
    connection: asyncpg.Connection, topic: str, parts: Sequence[Part], result: ApplyResult, ledger_key: bytes
) -> Outcome:
    heads = await ledger.heads(connection)
    row_keys = {
        (part.source, part.batch.first)
        for part in parts
        if invalid_reason(part.batch) is None
        and (part.batch.next <= (head := heads.get(part.source, ChainHead())).next or part.batch.epoch < head.epoch)
    }
    outcome = fold(heads, await ledger.stored_rows(connection, row_keys), parts, ledger_key)
    await ledger.put_rows(connection, outcome.rows)
    await add_batches(connection, outcome.batches)
    changed = {source: head for source, head in outcome.heads.items() if heads.get(source) != head}
    await ledger.put_heads(connection, topic, changed, outcome.halt_offsets)
    result.rows += len(outcome.rows)
    result.repeats += outcome.repeats
    result.halt_reasons |= {source: outcome.heads[source].halt_reason or "" for source in outcome.halt_offsets}
    return outcome


async def add_batches(connection: asyncpg.Connection, batches: Sequence[ActionsCounted]) -> None:
    """Add the deltas of new ledger rows to the totals, in the caller's transaction."""
    campaigns = {delta.campaign for batch in batches for delta in batch.deltas}
    if campaigns:
        frozen = await cells.frozen_campaigns(connection, campaigns)
        await cells.add(connection, TotalsUpdate.of(batches, frozen))


async def _restore(
    connection: asyncpg.Connection, topic: str, restore: Restore, part: Part
) -> dict[SourcePartition, str]:
    """Drop the rows that the restore invalidates. Return the source, halted, if no row ends at the restored offset."""
    dropped = await ledger.drop_rows(connection, restore, part.offset)
    if dropped is None:
        halted = replace((await ledger.heads(connection))[restore.source], halt_reason=_NOT_A_ROW_END)
        await ledger.put_heads(connection, topic, {restore.source: halted}, {restore.source: part.offset})
        return {restore.source: _NOT_A_ROW_END}
    campaigns = {delta.campaign for batch in dropped.batches for delta in batch.deltas}
    if campaigns:
        frozen = await cells.frozen_campaigns(connection, campaigns)
        minute = int(parse_rfc3339(part.batch.accepted_until)) // 60
        await cells.add(connection, TotalsUpdate.reverting(dropped.batches, frozen, minute))
    await ledger.put_heads(connection, topic, {restore.source: dropped.head}, {})
    return {}

"""Apply tally batches: remember each and add it to the totals, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import asyncpg

from services.marathon.domain.cells import Changes
from services.marathon.domain.ledger import Head, Outcome, Part, Restore, SourcePartition, fold, nonsense
from services.marathon.storage import cells, ledger
from shared.clock import parse_rfc3339
from shared.events.tallies import ActionsCounted

_UNREADABLE: Final = "a record that cannot be read"
_NOT_AT_A_ROW: Final = "a restore to the middle of a counted range"


@dataclass(frozen=True, slots=True)
class Tallies:
    """Consecutive records of a tally topic, from offset `first` to before `next`.

    `parts` are those that could be read, `unreadable` the offsets of the others.
    """

    topic: str
    first: int
    next: int
    parts: Sequence[Part]
    unreadable: Sequence[int] = ()


@dataclass(slots=True)
class Applied:
    """What came of it. `next` is the offset to read next: not the one behind the records if some were missed before."""

    next: int
    rows: int = 0
    repeats: int = 0
    halts: dict[SourcePartition, str] = field(default_factory=dict)


async def apply_tallies(connection: asyncpg.Connection, tallies: Tallies) -> Applied:
    """Add `tallies` to ledger and totals. Repeats change nothing; what contradicts the ledger halts its source
    partition.

    A record that cannot be read halts a place of its own, partition -1 of the tally topic: it alarms, and if it was a
    tally batch the gap it leaves halts its source.
    """
    async with connection.transaction():
        position = await ledger.lock_reading(connection, tallies.topic)
        if tallies.first > position:
            return Applied(position)
        applied = Applied(tallies.next)
        parts = tallies.parts
        while parts:
            outcome = await _apply_until_restore(connection, tallies.topic, parts, applied)
            if outcome.restore is not None:
                part = parts[outcome.taken]
                applied.halts |= await _restore(connection, tallies.topic, outcome.restore, part)
            parts = parts[outcome.taken :]
        if tallies.unreadable:
            place = SourcePartition(tallies.topic, -1)
            halts = {place: tallies.unreadable[0]}
            await ledger.put_heads(connection, tallies.topic, {place: Head(halted=_UNREADABLE)}, halts)
            applied.halts[place] = _UNREADABLE
        await ledger.move_reading(connection, tallies.topic, tallies.next)
    return applied


async def _apply_until_restore(
    connection: asyncpg.Connection, topic: str, parts: Sequence[Part], applied: Applied
) -> Outcome:
    heads = await ledger.heads(connection)
    earlier = {
        (part.place, part.batch.first)
        for part in parts
        if nonsense(part.batch) is None
        and (part.batch.next <= (head := heads.get(part.place, Head())).next or part.batch.epoch < head.epoch)
    }
    outcome = fold(heads, await ledger.known_rows(connection, earlier), parts)
    await ledger.put_rows(connection, outcome.rows)
    await add_batches(connection, outcome.batches)
    changed = {place: head for place, head in outcome.heads.items() if heads.get(place) != head}
    await ledger.put_heads(connection, topic, changed, outcome.halts)
    applied.rows += len(outcome.rows)
    applied.repeats += outcome.repeats
    applied.halts |= {place: outcome.heads[place].halted or "" for place in outcome.halts}
    return outcome


async def add_batches(connection: asyncpg.Connection, batches: Sequence[ActionsCounted]) -> None:
    """Add the deltas of new rows of the ledger to the totals, in the caller's transaction."""
    campaigns = {delta.campaign for batch in batches for delta in batch.deltas}
    if campaigns:
        frozen = await cells.frozen_of(connection, campaigns)
        await cells.add(connection, Changes.of(batches, frozen))


async def _restore(
    connection: asyncpg.Connection, topic: str, restore: Restore, part: Part
) -> dict[SourcePartition, str]:
    """Drop what no longer holds; returns the place that halts, if the restored offset is none that a row ends at."""
    dropped = await ledger.drop_from(connection, restore, part.offset)
    if dropped is None:
        halted = replace((await ledger.heads(connection))[restore.place], halted=_NOT_AT_A_ROW)
        await ledger.put_heads(connection, topic, {restore.place: halted}, {restore.place: part.offset})
        return {restore.place: _NOT_AT_A_ROW}
    campaigns = {delta.campaign for batch in dropped.batches for delta in batch.deltas}
    if campaigns:
        frozen = await cells.frozen_of(connection, campaigns)
        minute = int(parse_rfc3339(part.batch.accepted_until)) // 60
        await cells.add(connection, Changes.undoing(dropped.batches, frozen, minute))
    await ledger.put_heads(connection, topic, {restore.place: dropped.head}, {})
    return {}

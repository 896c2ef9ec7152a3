"""The SQL of counting: loads the stored state for a fold, and writes the fold's outcome.

Only the transaction that has updated a partition's position writes the rows of its keys, so a plain read is enough:
locking each row that a repeat touches would cost more than counting it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from shared.counting.copy_format import ROW_COLUMNS, SUBMISSION_COLUMNS, copy_rows
from shared.counting.counted_topic import CountedTopic
from shared.counting.fold import DeadLetter, InputRecord, LoadedState, Outcome, PartitionOffset
from shared.counting.transitions import FollowUp, Row
from shared.kafka.positions import PositionLostError


def _select_rows(table: str) -> str:
    return f"""
SELECT key, dimensions, state::text, invalidated, partition, first_offset, applied_offset, opened, minute, digest
FROM {table} WHERE key = ANY($1::bytea[])
"""  # noqa: S608  a table of ours


async def find_rows(connection: asyncpg.Connection, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]:
    """The stored rows of `keys`, by key."""
    return {key: Row(*row) for key, *row in await connection.fetch(_select_rows(table), keys)}


async def copy_new_rows(connection: asyncpg.Connection, table: str, packed: Sequence[bytes]) -> None:
    """Insert the packed rows of keys that `find_rows` has not found.

    A COPY straight into the table takes a third less time than an INSERT ... ON CONFLICT from a staged copy. No other
    transaction inserts these keys meanwhile: this one has locked the positions of their partitions.
    """
    if packed:
        await copy_rows(connection, table, ROW_COLUMNS, packed)


async def copy_submissions(connection: asyncpg.Connection, packed: Sequence[bytes]) -> None:
    """Insert the packed rows of first submissions."""
    if packed:
        await copy_rows(connection, "submissions", SUBMISSION_COLUMNS, packed)


_SELECT_DEAD_LETTERS: Final = """
SELECT partition, "offset", key, reason, applied, superseded FROM dead_letters
WHERE topic = $1 AND key = ANY($2::bytea[])
UNION
SELECT partition, "offset", key, reason, applied, superseded FROM dead_letters
JOIN unnest($3::smallint[], $4::bigint[]) AS origin (partition, "offset") USING (partition, "offset")
WHERE topic = $1
"""
_SELECT_DECISIONS: Final = "SELECT key, decision FROM applied_decisions WHERE topic = $1 AND key = ANY($2::bytea[])"


async def load_state(
    connection: asyncpg.Connection, counted: CountedTopic, records: Sequence[InputRecord], rows: dict[bytes, Row]
) -> LoadedState:
    """Load the state that a fold of `records` needs; `rows` are the stored rows of their keys."""
    loaded = LoadedState(rows)
    keys = list({record.key for record in records if record.key})
    origins = [(record.partition, record.origin) for record in records if record.redriven]
    dead_letters = await connection.fetch(
        _SELECT_DEAD_LETTERS,
        counted.topic.name,
        keys,
        [partition for partition, _ in origins],
        [offset for _, offset in origins],
    )
    for partition, offset, key, reason, applied, superseded in dead_letters:
        loaded.add_dead_letter(PartitionOffset(partition, offset), DeadLetter(key, reason, applied, superseded))
    decided = {record.key for record in records if isinstance(record.event, FollowUp) and record.event.decision}
    if decided:
        decisions = await connection.fetch(_SELECT_DECISIONS, counted.topic.name, list(decided))
        loaded.decisions = {key: decision for key, decision in decisions}  # noqa: C416  rows are no pairs to mypy
    if counted.quota:
        counters = {record.claim.counter for record in records if record.claim}
        loaded.quota_counts = await counted.quota.load(connection, counters)
    return loaded


def _insert_rows(table: str) -> str:
    return f"""
INSERT INTO {table}
    (key, dimensions, state, invalidated, partition, first_offset, applied_offset, opened, minute, digest)
SELECT key, dimensions, state::"char", invalidated, partition, first_offset, applied_offset, opened, minute, digest
FROM unnest($1::bytea[], $2::integer[], $3::text[], $4::boolean[], $5::smallint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::integer[], $10::bigint[])
    AS inserted (key, dimensions, state, invalidated, partition, first_offset, applied_offset, opened, minute, digest)
"""  # noqa: S608  a table of ours


def _update_rows(table: str) -> str:
    return f"""
UPDATE {table} AS stored
SET dimensions = updated.dimensions, state = updated.state::"char", invalidated = updated.invalidated,
    applied_offset = updated.applied_offset, opened = updated.opened, minute = updated.minute, digest = updated.digest
FROM unnest($1::bytea[], $2::bigint[], $3::integer[], $4::text[], $5::boolean[], $6::smallint[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::integer[], $11::bigint[])
    AS updated (key, previous_offset, dimensions, state, invalidated, partition, first_offset, applied_offset, opened,
        minute, digest)
WHERE stored.key = updated.key AND stored.applied_offset = updated.previous_offset
"""  # noqa: S608  a table of ours


async def write_rows(
    connection: asyncpg.Connection, table: str, before: Mapping[bytes, Row], after: Mapping[bytes, Row]
) -> None:
    """Insert the rows of `after` that are not in `before`, and update the others.

    Raises:
        PositionLostError: a row has changed since it was read; another member counts these partitions.
    """
    inserted = [(key, *row) for key, row in after.items() if key not in before]
    updated = [(key, before[key].applied_offset, *row) for key, row in after.items() if key in before]
    if inserted:
        await connection.execute(_insert_rows(table), *map(list, zip(*inserted, strict=True)))
    if updated:
        status = await connection.execute(_update_rows(table), *map(list, zip(*updated, strict=True)))
        if status != f"UPDATE {len(updated)}":
            raise PositionLostError


_UPSERT_DEAD_LETTERS: Final = """
INSERT INTO dead_letters (topic, partition, "offset", key, reason, applied, superseded)
SELECT $1, * FROM unnest($2::smallint[], $3::bigint[], $4::bytea[], $5::text[], $6::boolean[], $7::boolean[])
ON CONFLICT (topic, partition, "offset") DO UPDATE
SET applied = excluded.applied, superseded = excluded.superseded
"""
_UPSERT_DECISIONS: Final = """
INSERT INTO applied_decisions (topic, key, decision) SELECT $1, * FROM unnest($2::bytea[], $3::bigint[])
ON CONFLICT (topic, key) DO UPDATE SET decision = excluded.decision
"""


async def write_dead_letters(
    connection: asyncpg.Connection, topic: str, dead_letters: Mapping[PartitionOffset, DeadLetter]
) -> None:
    """Insert or update the state of dead letters of `topic`."""
    if dead_letters:
        rows = [(*origin, *letter) for origin, letter in dead_letters.items()]
        await connection.execute(_UPSERT_DEAD_LETTERS, topic, *map(list, zip(*rows, strict=True)))


async def write_decisions(connection: asyncpg.Connection, topic: str, decisions: Mapping[bytes, int]) -> None:
    """Store the number of the last decision that was applied to each key."""
    if decisions:
        await connection.execute(_UPSERT_DECISIONS, topic, list(decisions), list(decisions.values()))


async def write_outcome(
    connection: asyncpg.Connection, counted: CountedTopic, before: Mapping[bytes, Row], outcome: Outcome
) -> None:
    """Write the state that a fold changed; `before` are the rows of its keys as loaded."""
    await write_rows(connection, counted.table, before, outcome.rows)
    await write_dead_letters(connection, counted.topic.name, outcome.dead_letters)
    await write_decisions(connection, counted.topic.name, outcome.decisions)
    if counted.quota and outcome.quota_counts:
        await counted.quota.write(connection, outcome.quota_counts)

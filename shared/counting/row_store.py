"""The SQL of counting: what is held is read for a fold, and what the fold made of it is written.

Only the holder of a partition's position writes the rows of its keys, so a plain read is enough: locking each row that
a repeat touches would cost more than counting it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from shared.counting.copy_format import ROW_COLUMNS, SUBMISSION_COLUMNS, copy_rows
from shared.counting.counted_topic import CountedTopic
from shared.counting.fold import MINUTES_A_DAY, DeadLetter, InputRecord, LoadedState, Outcome, Place
from shared.counting.transitions import Row, Submitted
from shared.kafka.positions import PositionLostError


def _select(table: str) -> str:
    return f"""
SELECT key, dimensions, state::text, invalidated, partition, first_offset, applied_offset, opened, minute, digest
FROM {table} WHERE key = ANY($1::bytea[])
"""  # noqa: S608  a table of ours


async def find_rows(connection: asyncpg.Connection, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]:
    """The rows that are held of `keys`, by key; of many keys most are new."""
    return {key: Row(*row) for key, *row in await connection.fetch(_select(table), keys)}


async def copy_new_rows(connection: asyncpg.Connection, table: str, packed: Sequence[bytes]) -> None:
    """Make the packed rows of keys that `find` has not found.

    A COPY straight into the table spares a third of what an INSERT ... ON CONFLICT from a staged copy took. Nobody else
    makes rows of these keys meanwhile: the transaction holds the positions of their partitions.
    """
    if packed:
        await copy_rows(connection, table, ROW_COLUMNS, packed)


async def copy_submissions(connection: asyncpg.Connection, packed: Sequence[bytes]) -> None:
    """Keep the packed rows of first submissions."""
    if packed:
        await copy_rows(connection, "submissions", SUBMISSION_COLUMNS, packed)


_DEAD: Final = """
SELECT partition, "offset", key, reason, applied, superseded FROM dead_letters
WHERE topic = $1 AND key = ANY($2::bytea[])
UNION
SELECT partition, "offset", key, reason, applied, superseded FROM dead_letters
JOIN unnest($3::smallint[], $4::bigint[]) AS origin (partition, "offset") USING (partition, "offset")
WHERE topic = $1
"""
_DAYS: Final = """
SELECT person, day, opened FROM person_days
JOIN unnest($1::bytea[], $2::integer[]) AS wanted (person, day) USING (person, day)
"""


async def load_state(
    connection: asyncpg.Connection, counted: CountedTopic, arrived: Sequence[InputRecord], rows: dict[bytes, Row]
) -> LoadedState:
    """Everything that a fold of `arrived` has to know; `rows` is what `find` has found of their keys."""
    held = LoadedState(rows)
    keys = list({one.key for one in arrived if one.key})
    origins = [(one.partition, one.origin) for one in arrived if one.redriven]
    dead = await connection.fetch(
        _DEAD, counted.topic.name, keys, [partition for partition, _ in origins], [offset for _, offset in origins]
    )
    for partition, offset, key, reason, applied, superseded in dead:
        held.add_dead_letter(Place(partition, offset), DeadLetter(key, reason, applied, superseded))
    if counted.daily_limit:
        days = {
            (one.quota.person, one.event.minute // MINUTES_A_DAY)
            for one in arrived
            if one.quota and isinstance(one.event, Submitted)
        }
        found = await connection.fetch(_DAYS, [person for person, _ in days], [day for _, day in days])
        held.opened = {(person, day): opened for person, day, opened in found}
    return held


def _insert(table: str) -> str:
    return f"""
INSERT INTO {table}
    (key, dimensions, state, invalidated, partition, first_offset, applied_offset, opened, minute, digest)
SELECT key, dimensions, state::"char", invalidated, partition, first_offset, applied_offset, opened, minute, digest
FROM unnest($1::bytea[], $2::integer[], $3::text[], $4::boolean[], $5::smallint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::integer[], $10::bigint[])
    AS made (key, dimensions, state, invalidated, partition, first_offset, applied_offset, opened, minute, digest)
"""  # noqa: S608  a table of ours


def _update(table: str) -> str:
    return f"""
UPDATE {table} AS held
SET dimensions = moved.dimensions, state = moved.state::"char", invalidated = moved.invalidated,
    applied_offset = moved.applied_offset, opened = moved.opened, minute = moved.minute
FROM unnest($1::bytea[], $2::bigint[], $3::integer[], $4::text[], $5::boolean[], $6::bigint[], $7::bigint[],
    $8::integer[])
    AS moved (key, was_applied, dimensions, state, invalidated, applied_offset, opened, minute)
WHERE held.key = moved.key AND held.applied_offset = moved.was_applied
"""  # noqa: S608  a table of ours


async def write_rows(
    connection: asyncpg.Connection, table: str, before: Mapping[bytes, Row], after: Mapping[bytes, Row]
) -> None:
    """Make the rows of `after` that are not in `before`, and change the others.

    Raises:
        PositionLostError: a row is not as it was read; somebody else counts these partitions.
    """
    made = [(key, row) for key, row in after.items() if key not in before]
    moved = [(key, before[key], row) for key, row in after.items() if key in before]
    if made:
        columns = [list(column) for column in zip(*((key, *row) for key, row in made), strict=True)]
        await connection.execute(_insert(table), *columns)
    if moved:
        status = await connection.execute(
            _update(table),
            [key for key, _, _ in moved],
            [was.applied_offset for _, was, _ in moved],
            [row.dimensions for _, _, row in moved],
            [row.state for _, _, row in moved],
            [row.invalidated for _, _, row in moved],
            [row.applied_offset for _, _, row in moved],
            [row.opened for _, _, row in moved],
            [row.minute for _, _, row in moved],
        )
        if status != f"UPDATE {len(moved)}":
            raise PositionLostError


_WRITE_DEAD: Final = """
INSERT INTO dead_letters (topic, partition, "offset", key, reason, applied, superseded)
SELECT $1, * FROM unnest($2::smallint[], $3::bigint[], $4::bytea[], $5::text[], $6::boolean[], $7::boolean[])
ON CONFLICT (topic, partition, "offset") DO UPDATE
SET applied = excluded.applied, superseded = excluded.superseded
"""
_WRITE_DAYS: Final = """
INSERT INTO person_days (person, day, opened) SELECT * FROM unnest($1::bytea[], $2::integer[], $3::integer[])
ON CONFLICT (person, day) DO UPDATE SET opened = excluded.opened
"""


async def write_dead_letters(connection: asyncpg.Connection, topic: str, dead: Mapping[Place, DeadLetter]) -> None:
    """Remember `dead` letters of `topic` as they now are."""
    if dead:
        await connection.execute(
            _WRITE_DEAD,
            topic,
            [place.partition for place in dead],
            [place.offset for place in dead],
            [letter.key for letter in dead.values()],
            [letter.reason for letter in dead.values()],
            [letter.applied for letter in dead.values()],
            [letter.superseded for letter in dead.values()],
        )


async def write_days(connection: asyncpg.Connection, opened: Mapping[tuple[bytes, int], int]) -> None:
    """Remember how many actions persons have begun on a day."""
    if opened:
        await connection.execute(
            _WRITE_DAYS, [person for person, _ in opened], [day for _, day in opened], list(opened.values())
        )


async def write_outcome(
    connection: asyncpg.Connection, counted: CountedTopic, before: Mapping[bytes, Row], outcome: Outcome
) -> None:
    """Write the rows, dead letters and days that a fold touched; `before` is what was held of its keys."""
    await write_rows(connection, counted.table, before, outcome.rows)
    await write_dead_letters(connection, counted.topic.name, outcome.dead)
    await write_days(connection, outcome.opened)

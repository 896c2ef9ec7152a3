"""Rows in the binary format of PostgreSQL's COPY, packed while PostgreSQL is still busy with the rows before.

The format is https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format": for each row the number of its
columns, and for each column its length and its bytes in network order. Columns come in the order in which they change
least: what many rows share is packed once.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterable
from typing import Final

import asyncpg

from shared.counting.event_decoder import SubmissionRecord
from shared.counting.transitions import State

_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_LENGTH: Final = struct.Struct(">i").pack
LENGTHS: Final = tuple(_LENGTH(length) for length in range(4096))
"""The packed lengths of short columns."""
EIGHT: Final = LENGTHS[8]
SIXTEEN: Final = LENGTHS[16]

ROW_COLUMNS: Final = (
    "invalidated", "dimensions", "minute", "partition", "state",
    "first_offset", "applied_offset", "opened", "digest", "key",
)  # fmt: skip
_CELL: Final = struct.Struct(">hi?iiiiihi1s")

SUBMISSION_COLUMNS: Final = (
    "partition", "accepted_ms",
    "dimensions", "seal_key", "version", "public_name", "updates", "further", "topic", "locale",
    "offset", "key", "digest", "network", "domain", "sealed",
)  # fmt: skip
_PLACE: Final = struct.Struct(">hihiq")
_SORT: Final = struct.Struct(">iiihihi?i?i?")


def cell_part(dimensions: int, minute: int, partition: int, state: State) -> bytes:
    """The beginning of the row of a new key, which all that count in one cell share."""
    return _CELL.pack(10, 1, False, 4, dimensions, 4, minute, 2, partition, 1, state.encode())


def new_row(cell: bytes, offset: int, digest: bytes, key: bytes) -> bytes:
    """The row of a new key, `ROW_COLUMNS`, opened by the submission at `offset`; of `digest` the beginning is taken."""
    place = EIGHT + offset.to_bytes(8, "big")
    return b"".join((cell, place, place, place, EIGHT, digest[:8], SIXTEEN, key))


def place_part(partition: int, accepted_ms: int) -> bytes:
    """The beginning of a row of `submissions`, which all that were accepted together share."""
    return _PLACE.pack(16, 2, partition, 8, accepted_ms)


def sort_part(topic: bytes, dimensions: int, said: SubmissionRecord, *, further: bool) -> bytes:
    """The middle of a row of `submissions`, which all of one sort share. `topic` is its name in UTF-8."""
    fixed = _SORT.pack(
        4, dimensions, 2, said.seal_key, 2, said.petition_version, 1, said.public_name, 1, said.updates, 1, further
    )  # fmt: skip
    locale = said.locale.encode()
    return b"".join((fixed, _LENGTH(len(topic)), topic, _LENGTH(len(locale)), locale))


def own_part(offset: int, key: bytes, digest: bytes, said: SubmissionRecord) -> tuple[bytes, ...]:
    """The end of a row of `submissions`, in parts: what is its own."""
    network, domain, sealed = said.network.encode(), said.domain.encode(), said.sealed
    return (
        EIGHT, offset.to_bytes(8, "big"), SIXTEEN, key, SIXTEEN, digest,
        LENGTHS[len(network)], network, LENGTHS[len(domain)], domain, _LENGTH(len(sealed)), sealed,
    )  # fmt: skip


async def copy_rows(connection: asyncpg.Connection, table: str, columns: Iterable[str], rows: Iterable[bytes]) -> None:
    """COPY packed `rows` into `table`."""

    async def source() -> AsyncIterator[bytes]:
        yield b"".join((_BEGIN, *rows, _END))

    await connection.copy_to_table(table, source=source(), columns=list(columns), format="binary")

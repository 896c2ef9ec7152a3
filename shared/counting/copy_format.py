"""Rows in the binary format of PostgreSQL's COPY, packed while PostgreSQL still writes the previous rows.

The format is https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format": for each row the number of its
columns, and for each column its length and its bytes in network order. The columns that many rows share come first, so
that their bytes are packed once.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterable
from typing import Final

import asyncpg

from shared.counting.event_decoder import SubmissionRecord
from shared.counting.transitions import State

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_pack_length: Final = struct.Struct(">i").pack
PACKED_LENGTHS: Final = tuple(_pack_length(length) for length in range(4096))
"""The packed lengths of short columns, by length."""
LENGTH_8: Final = PACKED_LENGTHS[8]
LENGTH_16: Final = PACKED_LENGTHS[16]

ROW_COLUMNS: Final = (
    "invalidated", "dimensions", "minute", "partition", "state",
    "first_offset", "applied_offset", "opened", "digest", "key",
)  # fmt: skip
_ROW_PREFIX: Final = struct.Struct(">hi?iiiiihi1s")

SUBMISSION_COLUMNS: Final = (
    "partition", "accepted_ms",
    "dimensions", "seal_key", "version", "public_name", "updates", "further", "topic", "locale",
    "offset", "key", "digest", "network", "domain", "sealed",
)  # fmt: skip
_SUBMISSION_PREFIX: Final = struct.Struct(">hihiq")
_SUBMISSION_ATTRIBUTES: Final = struct.Struct(">iiihihi?i?i?")


def pack_row_prefix(dimensions: int, minute: int, partition: int, state: State) -> bytes:
    """Pack the beginning of the row of a new key, which all new rows of one cell share."""
    return _ROW_PREFIX.pack(10, 1, False, 4, dimensions, 4, minute, 2, partition, 1, state.encode())


def pack_row(prefix: bytes, offset: int, digest: bytes, key: bytes) -> bytes:
    """Pack the row of a new key (`ROW_COLUMNS`), opened by the submission at `offset`."""
    column = LENGTH_8 + offset.to_bytes(8, "big")
    return b"".join((prefix, column, column, column, LENGTH_8, digest[:8], LENGTH_16, key))


def pack_submission_prefix(partition: int, accepted_ms: int) -> bytes:
    """Pack the beginning of a row of `submissions`, which all submissions of one batch of the log share."""
    return _SUBMISSION_PREFIX.pack(16, 2, partition, 8, accepted_ms)


def pack_submission_attributes(topic: bytes, dimensions: int, submission: SubmissionRecord, *, further: bool) -> bytes:
    """Pack the middle of a row of `submissions`, which many submissions share. `topic` is its name in UTF-8."""
    fixed = _SUBMISSION_ATTRIBUTES.pack(
        4, dimensions, 2, submission.seal_key, 2, submission.petition_version,
        1, submission.public_name, 1, submission.updates, 1, further,
    )  # fmt: skip
    locale = submission.locale.encode()
    return b"".join((fixed, _pack_length(len(topic)), topic, _pack_length(len(locale)), locale))


def pack_submission_suffix(offset: int, key: bytes, digest: bytes, submission: SubmissionRecord) -> tuple[bytes, ...]:
    """Pack the end of a row of `submissions`, the columns that are its own, in parts."""
    network, domain, sealed = submission.network.encode(), submission.domain.encode(), submission.sealed
    return (
        LENGTH_8, offset.to_bytes(8, "big"), LENGTH_16, key, LENGTH_16, digest,
        PACKED_LENGTHS[len(network)], network, PACKED_LENGTHS[len(domain)], domain, _pack_length(len(sealed)), sealed,
    )  # fmt: skip


async def copy_rows(connection: asyncpg.Connection, table: str, columns: Iterable[str], rows: Iterable[bytes]) -> None:
    """COPY packed `rows` into `table`."""

    async def source() -> AsyncIterator[bytes]:
        yield b"".join((_HEADER, *rows, _TRAILER))

    await connection.copy_to_table(table, source=source(), columns=list(columns), format="binary")

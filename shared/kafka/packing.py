"""Rows in the binary format of PostgreSQL's COPY, packed while PostgreSQL is still busy with the rows before.

The format is https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format": for each row the number of its
columns, and for each column its length and its bytes in network order.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterable
from typing import Final

import asyncpg

from shared.kafka.submissions import Submission

_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"

STAGED_COLUMNS: Final = ("offset", "digest", "dimensions", "minute", "partition", "state", "key")
_STAGED: Final = struct.Struct(">h iq i8s ii ii ih i1s i16s".replace(" ", ""))

SUBMISSION_COLUMNS: Final = (
    "partition", "offset", "accepted_ms", "dimensions", "seal_key", "version", "public_name", "updates", "further",
    "key", "digest", "topic", "locale", "network", "domain", "sealed",
)  # fmt: skip
_SUBMISSION: Final = struct.Struct(">h ih iq iq ii ih ih i? i? i? i16s i16s".replace(" ", ""))
_LENGTH: Final = struct.Struct(">i").pack


def staged_row(  # noqa: PLR0917  one for each column
    offset: int, digest: bytes, dimensions: int, minute: int, partition: int, state: bytes, key: bytes
) -> bytes:
    """A row of the keys that may be new: `STAGED_COLUMNS`."""
    return _STAGED.pack(
        7, 8, offset, 8, digest, 4, dimensions, 4, minute, 2, partition, 1, state, 16, key
    )  # fmt: skip


def submission_row(
    place: tuple[bytes, int, int, int], said: Submission, dimensions: int, key: bytes, digest: bytes, *, further: bool
) -> bytes:
    """A row of `submissions`: `SUBMISSION_COLUMNS`. `place` is topic, partition, offset and time of acceptance."""
    topic, partition, offset, accepted_ms = place
    locale, network, domain = said.locale.encode(), said.network.encode(), said.domain.encode()
    return b"".join((
        _SUBMISSION.pack(
            16, 2, partition, 8, offset, 8, accepted_ms, 4, dimensions, 2, said.seal_key, 2, said.petition_version,
            1, said.public_name, 1, said.updates, 1, further, 16, key, 16, digest,
        ),
        _LENGTH(len(topic)), topic,
        _LENGTH(len(locale)), locale,
        _LENGTH(len(network)), network,
        _LENGTH(len(domain)), domain,
        _LENGTH(len(said.sealed)), said.sealed,
    ))  # fmt: skip


async def copy_rows(connection: asyncpg.Connection, table: str, columns: Iterable[str], rows: Iterable[bytes]) -> None:
    """COPY packed `rows` into `table`."""

    async def source() -> AsyncIterator[bytes]:
        yield b"".join((_BEGIN, *rows, _END))

    await connection.copy_to_table(table, source=source(), columns=list(columns), format="binary")

"""Searches for planted personal data wherever it must not be: Kafka's segments, databases, logs, metrics.

Shares no code with the services. Each needle is searched in every spelling in which software commonly stores text, in
record batches after decompression, in stored values after PostgreSQL has unpacked them, and in the files on disk.
"""

from __future__ import annotations

import itertools
import json
import urllib.parse
import urllib.request
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from quopri import encodestring

import asyncpg
from aiokafka.record import MemoryRecords

_TABLES = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
WHERE schemaname <> 'information_schema' AND NOT starts_with(schemaname, 'pg_')
"""


@dataclass(frozen=True)
class Finding:
    """The location of a needle: its kind, and which one."""

    kind: str
    location: str


class NeedleSearch:
    """Searches for needles in every spelling."""

    def __init__(self, *needles: str) -> None:
        self._spellings = tuple({spelling for needle in needles for spelling in _spellings(needle)})

    def is_in(self, content: bytes) -> bool:
        """Whether any needle is in `content`, as it is or in base64 within it."""
        lowered = content.lower()
        return any(spelling.lower() in lowered for spelling in self._spellings)

    async def in_databases(self, urls: dict[str, str]) -> list[Finding]:
        """Search every value of every table of the databases at `urls`."""
        findings = []
        for name, url in urls.items():
            connection = await asyncpg.connect(url, timeout=10)
            try:
                for (table,) in await connection.fetch(_TABLES):
                    rows = await connection.fetch(f"SELECT * FROM {table}", timeout=60)  # noqa: S608  from the catalogue
                    if any(self.is_in(_bytes_of(value)) for row in rows for value in row.values()):
                        findings.append(Finding("database", f"{name}.{table}"))
            finally:
                await connection.close(timeout=10)
        return findings

    def in_kafka_segments(self, folder: Path) -> list[Finding]:
        """Search each record of each segment below `folder`, decompressed; and the raw files."""
        findings = []
        for segment in sorted(folder.rglob("*.log")):
            content = _content(segment)
            if self.is_in(content) or any(self.is_in(part) for part in _record_parts(content)):
                findings.append(Finding("kafka", f"{segment.parent.name}/{segment.name}"))
        return findings

    def in_files(self, folder: Path) -> list[Finding]:
        """Search the files below `folder`."""
        return [
            Finding("file", str(path.relative_to(folder)))
            for path in sorted(folder.rglob("*"))
            if path.is_file() and self.is_in(_content(path))
        ]

    def at_addresses(self, addresses: list[str]) -> list[Finding]:
        """Search the response of each HTTP address."""
        findings = []
        for address in addresses:
            with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310  our own loopback addresses
                if self.is_in(answer.read()):
                    findings.append(Finding("address", address))
        return findings


def _content(path: Path) -> bytes:
    """Return what `path` holds; nothing if its owner has deleted it meanwhile, as a broker does with old segments."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _spellings(needle: str) -> Iterator[bytes]:
    plain = needle.encode()
    yield plain
    yield json.dumps(needle)[1:-1].encode()
    yield urllib.parse.quote(needle, safe="").encode()
    yield urllib.parse.quote_plus(needle).encode()
    yield encodestring(plain)
    yield plain.hex().encode()
    yield needle.encode("utf-16-le")
    yield needle.encode("utf-16-be")
    for alphabet in (b"+/", b"-_"):
        for shift in range(3):
            # The middle of the base64 text is the same whatever stands around the needle; its ends are not.
            text = b64encode(bytes(shift) + plain, altchars=alphabet)
            yield text[4 if shift else 0 : -4]


def _record_parts(content: bytes) -> Iterator[bytes]:
    records = MemoryRecords(content)
    while (batch := records.next_batch()) is not None:
        for record in batch:
            values = [record.key, record.value, *(value for _, value in record.headers)]
            yield from itertools.chain.from_iterable(_layers(value) for value in values if value)


def _bytes_of(value: object) -> bytes:
    if isinstance(value, bytes):
        return b"\n".join(_layers(value))
    return str(value).encode()


def _layers(content: bytes) -> Iterator[bytes]:
    """Yield `content`, and its decoded form if it is base64."""
    yield content
    try:
        yield b64decode(content, validate=True)
    except NotBase64:
        return

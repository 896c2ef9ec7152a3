"""Records put straight into topics, as a foreign or broken producer would."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer

KEY_BYTES: Final = 16
_NUMBERS: Final = itertools.count()


@asynccontextmanager
async def producer(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer of our own."""
    one = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", max_request_size=2 << 20)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()


def headers(event: str, version: str = "1.0") -> list[tuple[str, bytes]]:
    """The headers of an event, as the contract says (CloudEvents 1.0, binary mode)."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_type", event.encode()),
        ("ce_source", b"/tests/faults"),
        ("ce_dataversion", version.encode()),
        ("content-type", b"application/json"),
        ("ce_id", b"fault-%d" % next(_NUMBERS)),
        ("ce_time", b"2026-11-21T12:00:00.000Z"),
    ]


def key() -> bytes:
    """A key that nobody has."""
    return secrets.token_bytes(KEY_BYTES)


def without(packed: Iterable[tuple[str, bytes]], *prefixes: str) -> list[tuple[str, bytes]]:
    """Headers without those whose names begin with one of `prefixes`."""
    return [(name, value) for name, value in packed if not name.startswith(prefixes)]

"""CloudEvents 1.0 in Kafka's binary mode: attributes in `ce_*` headers, JSON in the value.

Source: CloudEvents 1.0.2 and its Kafka protocol binding, https://github.com/cloudevents/spec.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from shared.errors import PermanentError

Headers = list[tuple[str, bytes]]

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for a value that is no event of ours: no JSON, no UTF-8, of another shape, nested too deeply."""

ORIGIN_HEADER: Final = "ce_origin"
"""Where a redriven record stood first, `topic/partition/offset`. An extension attribute."""


class EventType(NamedTuple):
    """What a consumer needs to know before it reads the value."""

    name: str
    major: int


class Envelope:
    """Makes the headers of one event type of one producing process.

    `source` names the producer as a URI reference (`/petitions/intake`), `version` is the data version, major.minor.
    Ids are unique for their source: random for the process, then counted.
    """

    def __init__(self, event_type: str, *, source: str, version: str = "1.0") -> None:
        self._ids = itertools.count()
        self._prefix = secrets.token_hex(8).encode() + b"-"
        self._fixed: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", event_type.encode()),
            ("ce_source", source.encode()),
            ("ce_dataversion", version.encode()),
            ("content-type", b"application/json"),
        ]

    def headers(self, time: bytes) -> Headers:
        """Headers of the next event; `time` is its RFC 3339 time."""
        return [*self._fixed, ("ce_id", self._prefix + b"%x" % next(self._ids)), ("ce_time", time)]


def event_type(headers: Iterable[tuple[str, bytes]]) -> EventType:
    """The type and major data version that `headers` name.

    Raises:
        PermanentError: `not-a-cloudevent` where a needed header is missing or unreadable.
    """
    name = version = specversion = None
    for key, value in headers:
        if key == "ce_type":
            name = value
        elif key == "ce_dataversion":
            version = value
        elif key == "ce_specversion":
            specversion = value
    if name is None or version is None or specversion != b"1.0":
        raise PermanentError("not-a-cloudevent")
    try:
        return EventType(name.decode("ascii"), int(version.partition(b".")[0]))
    except ValueError:
        raise PermanentError("not-a-cloudevent") from None

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

DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Errors of decoding a value that is no valid event: no JSON, no UTF-8, another shape, nested too deeply."""

ORIGIN_HEADER: Final = "ce_origin"
"""The first position of a redriven record, `topic/partition/offset`. An extension attribute."""
ORIGIN_GROUP_HEADER: Final = "ce_origingroup"
"""The consumer group for which a record was redriven, because it had refused it. An extension attribute."""


class EventType(NamedTuple):
    """The name and major data version of an event, which a consumer needs before it decodes the value."""

    name: str
    major: int


class Envelope:
    """The headers of one event type of one producing process.

    `source` names the producer as a URI reference (`/petitions/intake`), `version` is the data version, major.minor.
    Ids are unique within their source: a random prefix for the process, then a counter.
    """

    def __init__(self, event_type: str, *, source: str, version: str = "1.0") -> None:
        self._ids = itertools.count()
        self._id_prefix = secrets.token_hex(8).encode() + b"-"
        self._fixed_headers: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", event_type.encode()),
            ("ce_source", source.encode()),
            ("ce_dataversion", version.encode()),
            ("content-type", b"application/json"),
        ]

    def headers(self, time: bytes) -> Headers:
        """Return the headers of the next event; `time` is its RFC 3339 time."""
        return [*self._fixed_headers, ("ce_id", self._id_prefix + b"%x" % next(self._ids)), ("ce_time", time)]


def parse_event_type(headers: Iterable[tuple[str, bytes]]) -> EventType:
    """Return the type and major data version from `headers`.

    Raises:
        PermanentError: `not-a-cloudevent` where a required header is missing or unreadable.
    """
    attributes = dict(headers)
    name, version = attributes.get("ce_type"), attributes.get("ce_dataversion")
    if name is None or version is None or attributes.get("ce_specversion") != b"1.0":
        raise PermanentError("not-a-cloudevent")
    try:
        return EventType(name.decode("ascii"), int(version.partition(b".")[0]))
    except ValueError:
        raise PermanentError("not-a-cloudevent") from None

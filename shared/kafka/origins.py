"""The origin of a redriven record: where and when it was first accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from shared.clock import parse_rfc3339
from shared.errors import PermanentError
from shared.events.cloudevents import ORIGIN_HEADER

ORIGIN_TIME_HEADER: Final = "ce_origintime"
"""When a redriven record was first accepted, RFC 3339. An extension attribute."""


class Origin(NamedTuple):
    """The offset and time at which a redriven record was first accepted, in the same partition."""

    offset: int
    timestamp_ms: int


def decode_origin(headers: Mapping[str, bytes], topic: str, partition: int, current: Origin) -> Origin:
    """The origin of a redriven record whose own offset and time are `current`: an earlier offset of its partition.

    Raises:
        PermanentError: `bad-origin`.
    """
    try:
        origin_topic, origin_partition, offset = headers[ORIGIN_HEADER].decode("ascii").split("/")
        origin = Origin(int(offset), _accepted_ms(headers.get(ORIGIN_TIME_HEADER), current))
    except ValueError:
        raise PermanentError("bad-origin") from None
    if (origin_topic, origin_partition) != (topic, str(partition)) or not 0 <= origin.offset < current.offset:
        raise PermanentError("bad-origin")
    return origin


def _accepted_ms(origin_time: bytes | None, current: Origin) -> int:
    """When a redriven record was first accepted, never later than it was redriven."""
    if origin_time is None:
        return current.timestamp_ms
    return min(current.timestamp_ms, int(parse_rfc3339(origin_time.decode("ascii")) * 1000))

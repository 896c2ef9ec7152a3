"""Limits of requests and connections, shared by the protocol and the ordinary routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MAX_BODY_BYTES: Final = 64 * KIB
MAX_BATCH_BODY_BYTES: Final = 2 * KIB * KIB
MAX_HEADER_BYTES: Final = 16 * KIB
HEADER_TIMEOUT_SECONDS: Final = 10.0
BODY_TIMEOUT_SECONDS: Final = 20.0
MAX_CONNECTIONS: Final = 20_000
"""Open connections of one process; the next is refused. Below the open-files limit that the launcher raises to."""

_LIMITS_BY_PATH: Final[Mapping[str, int]] = {"/v1/signatures/batch": MAX_BATCH_BODY_BYTES}
_LIMITS_BY_PREFIX: Final[Mapping[str, int]] = {"/desk/": MAX_BATCH_BODY_BYTES}


def body_limit(path: str) -> int:
    """Return the largest body in bytes that `path` accepts."""
    exact = _LIMITS_BY_PATH.get(path)
    if exact is not None:
        return exact
    for prefix, limit in _LIMITS_BY_PREFIX.items():
        if path.startswith(prefix):
            return limit
    return MAX_BODY_BYTES


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits that the protocol enforces on every connection, whatever its route."""

    max_header_bytes: int = MAX_HEADER_BYTES
    header_timeout_seconds: float = HEADER_TIMEOUT_SECONDS
    body_timeout_seconds: float = BODY_TIMEOUT_SECONDS
    max_connections: int = MAX_CONNECTIONS

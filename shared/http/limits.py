"""Limits of requests and connections, shared by the protocol and the ordinary routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MAX_BODY_BYTES: Final = 64 * KIB
MAX_BATCH_BODY_BYTES: Final = 2 * KIB * KIB


def body_limit(path: str) -> int:
    """Return the largest body in bytes that `path` accepts."""
    takes_batches = path == "/v1/signatures/batch" or path.startswith("/desk/")
    return MAX_BATCH_BODY_BYTES if takes_batches else MAX_BODY_BYTES


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits that the protocol enforces on every connection, whatever its route.

    A process refuses more than `max_connections`, which are below the open-files limit that the launcher raises to.
    """

    max_header_bytes: int = 16 * KIB
    header_timeout_seconds: float = 10.0
    body_timeout_seconds: float = 20.0
    max_connections: int = 20_000

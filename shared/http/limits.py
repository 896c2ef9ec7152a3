"""How much of a request is taken. The protocol and the ordinary routes read the same figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
BODY_BYTES: Final = 64 * KIB
BATCH_BODY_BYTES: Final = 2 * KIB * KIB
HEADER_BYTES: Final = 16 * KIB
HEADER_SECONDS: Final = 10.0
BODY_SECONDS: Final = 20.0
CONNECTIONS: Final = 20_000
"""Open connections of one process; the next is refused. Below the open-files limit that the launcher raises to."""

_LARGER: Final[Mapping[str, int]] = {"/v1/signatures/batch": BATCH_BODY_BYTES}
_LARGER_UNDER: Final[Mapping[str, int]] = {"/desk/": BATCH_BODY_BYTES}


def body_limit(path: str) -> int:
    """The largest body in bytes that `path` takes."""
    exact = _LARGER.get(path)
    if exact is not None:
        return exact
    for prefix, limit in _LARGER_UNDER.items():
        if path.startswith(prefix):
            return limit
    return BODY_BYTES


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What the protocol enforces on every connection, whatever its route."""

    header_bytes: int = HEADER_BYTES
    header_seconds: float = HEADER_SECONDS
    body_seconds: float = BODY_SECONDS
    connections: int = CONNECTIONS

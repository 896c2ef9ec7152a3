"""The addresses that a web page of any origin may call. The batch and the desk are never among them.

Source: "HTTP" in the contract; the protocol is https://fetch.spec.whatwg.org/#http-cors-protocol.
"""

from __future__ import annotations

import re
from typing import Final

Header = tuple[bytes, bytes]

ALLOW_ORIGIN: Final[Header] = (b"access-control-allow-origin", b"*")
EXPOSE_HEADERS: Final[Header] = (b"access-control-expose-headers", b"Retry-After")
PREFLIGHT: Final[tuple[Header, ...]] = (
    ALLOW_ORIGIN,
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"Content-Type, Idempotency-Key, Last-Event-ID"),
    (b"access-control-max-age", b"86400"),
)

_PUBLIC_PATH: Final = re.compile(
    r"/v1/(?:"
    r"signatures(?:/(?!batch$)[^/]+)?"
    r"|messages(?:/[^/]+)?"
    r"|acts"
    r"|petitions/[^/]+"
    r"|declarations/[^/]+/signatories"
    r"|cases/[^/]+(?:/wall)?"
    r"|campaigns(?:/.+)?"
    r")"
)


def is_public(path: str) -> bool:
    """Whether a page of any origin may read the answers of `path`."""
    return path.startswith("/v1/") and _PUBLIC_PATH.fullmatch(path) is not None

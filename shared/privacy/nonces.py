"""Random nonces, drawn from the operating system some hundreds at a time."""

from __future__ import annotations

import os
from typing import Final

NONCE_BYTES: Final = 12
DRAWN_AT_ONCE: Final = 256


class Nonces:
    """Nonces of 12 bytes. Each is given out once; a process that forks must make its own."""

    def __init__(self) -> None:
        self._drawn = b""
        self._next = 0

    def __call__(self) -> bytes:
        """The next nonce."""
        start = self._next
        if start == len(self._drawn):
            self._drawn = os.urandom(NONCE_BYTES * DRAWN_AT_ONCE)
            start = 0
        self._next = start + NONCE_BYTES
        return self._drawn[start : start + NONCE_BYTES]

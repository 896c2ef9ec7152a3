"""Random nonces, drawn from the operating system 256 at a time."""

from __future__ import annotations

import os
from typing import Final

NONCE_BYTES: Final = 12
NONCES_PER_DRAW: Final = 256


class Nonces:
    """Nonces of 12 bytes. Each is returned once; a forked process must create its own instance."""

    def __init__(self) -> None:
        self._random_bytes = b""
        self._position = 0

    def __call__(self) -> bytes:
        """Return the next nonce."""
        start = self._position
        if start == len(self._random_bytes):
            self._random_bytes = os.urandom(NONCE_BYTES * NONCES_PER_DRAW)
            start = 0
        self._position = start + NONCE_BYTES
        return self._random_bytes[start : start + NONCE_BYTES]

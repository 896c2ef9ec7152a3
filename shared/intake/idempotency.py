"""Idempotency-Key at intake: a bounded memory, best effort. What makes repeats safe is the dedupe key."""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import Final

from shared.refusals import Refusal

ENTRIES: Final = 100_000
SECONDS: Final = 600.0
KEY_LENGTH: Final = 255
_HASH_BYTES: Final = 16


class IdempotencyMemory:
    """Remembers which body came under which key, as hashes under a key that ends with the process."""

    def __init__(self, *, entries: int = ENTRIES, seconds: float = SECONDS) -> None:
        self._entries = entries
        self._seconds = seconds
        self._secret = secrets.token_bytes(32)
        self._seen: dict[bytes, tuple[bytes, float]] = {}

    def check(self, key: bytes, body: bytes, now: float, owner: bytes = b"") -> None:
        """Remember `body` under the `key` of `owner` at `now`, in seconds of a clock that does not go back.

        Where senders are known, each of them has its own keys. Neither `owner` nor `key` holds a zero byte.

        Raises:
            Refusal: 422, another body came under this key within the last ten minutes, or the key is too long.
        """
        if len(key) > KEY_LENGTH:
            raise Refusal(422, "idempotency-key-invalid", "The Idempotency-Key is too long.")
        self._forget(now)
        name, content = self._hash(owner + b"\0" + key), self._hash(body)
        known = self._seen.setdefault(name, (content, now))
        if known[0] != content:
            raise Refusal(422, "idempotency-key-reused", "Another body came under this Idempotency-Key.")
        if len(self._seen) > self._entries:
            self._drop_oldest()

    def _hash(self, data: bytes) -> bytes:
        return blake2b(data, key=self._secret, digest_size=_HASH_BYTES).digest()

    def _forget(self, now: float) -> None:
        while self._seen:
            oldest = next(iter(self._seen))
            if now - self._seen[oldest][1] <= self._seconds:
                return
            del self._seen[oldest]

    def _drop_oldest(self) -> None:
        del self._seen[next(iter(self._seen))]

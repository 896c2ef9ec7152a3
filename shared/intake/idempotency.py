"""Idempotency-Key at intake: a bounded memory, best effort. The dedupe key is what makes repeats safe."""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import Final

from shared.refusals import Refusal

MAX_ENTRIES: Final = 100_000
RETENTION_SECONDS: Final = 600.0
MAX_KEY_LENGTH: Final = 255
_HASH_BYTES: Final = 16


class IdempotencyMemory:
    """Remembers the body of each Idempotency-Key, both as hashes under a secret that ends with the process."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES, retention_seconds: float = RETENTION_SECONDS) -> None:
        self._max_entries = max_entries
        self._retention_seconds = retention_seconds
        self._secret = secrets.token_bytes(32)
        self._entries: dict[bytes, tuple[bytes, float]] = {}

    def check(self, key: bytes, body: bytes, now: float, owner: bytes = b"") -> None:
        """Remember `body` under the `key` of `owner` at `now`, in seconds of a monotonic clock.

        Keys are separate for each `owner`. Neither `owner` nor `key` contains a zero byte.

        Raises:
            Refusal: 422, another body came under this key within the last ten minutes, or the key is too long.
        """
        if len(key) > MAX_KEY_LENGTH:
            raise Refusal(422, "idempotency-key-invalid", "The Idempotency-Key is too long.")
        while self._entries and now - next(iter(self._entries.values()))[1] > self._retention_seconds:
            self._drop_oldest()
        name, content = self._hash(owner + b"\0" + key), self._hash(body)
        entry = self._entries.setdefault(name, (content, now))
        if entry[0] != content:
            raise Refusal(422, "idempotency-key-reused", "Another body came under this Idempotency-Key.")
        if len(self._entries) > self._max_entries:
            self._drop_oldest()

    def _hash(self, data: bytes) -> bytes:
        return blake2b(data, key=self._secret, digest_size=_HASH_BYTES).digest()

    def _drop_oldest(self) -> None:
        del self._entries[next(iter(self._entries))]

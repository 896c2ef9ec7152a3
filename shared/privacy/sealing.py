"""Personal data at rest: AES-256-GCM under random nonces, bound to the record that it stands in.

With random nonces a key is good for 2^32 seals, however many processes share it (NIST SP 800-38D, section 8.3): six
hundred times the largest campaign there has been.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import b2a_base64
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.privacy.nonces import NONCE_BYTES, Nonces

SUBJECTS_PREPARED: Final = 4_096


class Person(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed of a submission, as a list in this order: new fields come last. `text` is a message's own text."""

    given_name: str
    family_name: str
    email: str
    postcode: str | None = None
    comment: str = ""
    source: str = ""
    text: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Person).decode


class Sealer:
    """Seals and opens under one seal key of a campaign (32 bytes)."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._nonce = Nonces()

    def seal(self, person: Person, *, topic: str, subject: str, key: bytes) -> str:
        """`person` sealed, as base64; it opens only with the same `topic`, `subject` and dedupe `key`."""
        nonce = self._nonce()
        sealed = self._cipher.encrypt(nonce, _encode(person), _bound(topic, subject) + key)
        return b2a_base64(nonce + sealed, newline=False).decode("ascii")

    def open(self, sealed: str | bytes, *, topic: str, subject: str, key: bytes) -> Person:
        """The person in `sealed`: base64 as text, or the bytes that it stands for.

        Raises:
            ValueError: another key, another record, or changed bytes.
        """
        raw = b64decode(sealed) if isinstance(sealed, str) else sealed
        try:
            plain = self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound(topic, subject) + key)
        except InvalidTag:
            raise ValueError("sealed under another key or for another record") from None
        return _decode(plain)


@lru_cache(maxsize=SUBJECTS_PREPARED)
def _bound(topic: str, subject: str) -> bytes:
    return f"{topic}|{subject}|".encode()

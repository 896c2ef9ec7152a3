"""Personal data at rest: AES-256-GCM under random nonces, bound to the record that contains it.

With random nonces a key is good for 2^32 seals, however many processes share it (NIST SP 800-38D, section 8.3): six
hundred times the largest campaign so far.
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

SUBJECT_CACHE_SIZE: Final = 4_096


class Person(msgspec.Struct, frozen=True, array_like=True):
    """The sealed fields of a submission, as a list in this order: new fields come last. `text` is that of a message."""

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
        """Return `person` sealed, as base64; it opens only with the same `topic`, `subject` and dedupe `key`."""
        nonce = self._nonce()
        sealed = self._cipher.encrypt(nonce, _encode(person), _associated_data(topic, subject) + key)
        return b2a_base64(nonce + sealed, newline=False).decode("ascii")

    def open(self, sealed: str | bytes, *, topic: str, subject: str, key: bytes) -> Person:
        """Return the person in `sealed`: base64 as text, or the decoded bytes.

        Raises:
            ValueError: another key, another record, or changed bytes.
        """
        raw = b64decode(sealed) if isinstance(sealed, str) else sealed
        try:
            plaintext = self._cipher.decrypt(
                raw[:NONCE_BYTES], raw[NONCE_BYTES:], _associated_data(topic, subject) + key
            )
        except InvalidTag:
            raise ValueError("sealed under another key or for another record") from None
        return _decode(plaintext)


@lru_cache(maxsize=SUBJECT_CACHE_SIZE)
def _associated_data(topic: str, subject: str) -> bytes:
    return f"{topic}|{subject}|".encode()

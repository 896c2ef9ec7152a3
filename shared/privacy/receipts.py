"""Receipts: encrypted references to the records of accepted actions.

A receipt names a record, so its status needs no row and does not reveal whether the person had acted before.
"""

from __future__ import annotations

import hmac
import struct
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared import base64url, codes
from shared.privacy.nonces import NONCE_BYTES, Nonces

_HEADER: Final = struct.Struct(">HQ16sB")
MAX_LENGTH: Final = 400
_CODE_BYTES: Final = 8


def short_receipt(token_key: bytes, topic: str, partition: int, offset: int) -> str:
    """Return the short receipt of the submission at `offset`, such as `7KQ4-M2XD-9FJ4`.

    It is a keyed hash under the campaign's token key, which the intakes and notifications have. It gives access to
    nothing: a person who sees it on the thank-you page and in the mail knows that both are about the same act.
    """
    reference = f"receipt|{topic}|{partition}|{offset}".encode()
    digest = hmac.digest(token_key, reference, "sha256")[:_CODE_BYTES]
    return codes.encode(int.from_bytes(digest, "big") >> _CODE_BYTES * 8 - codes.BITS)


class Receipt(NamedTuple):
    """The contents of a receipt.

    `topic` is the intake topic, `subject` the slug of petition or case, `key` the dedupe key.
    """

    topic: str
    subject: str
    key: bytes
    partition: int
    offset: int

    @property
    def record(self) -> tuple[str, int, int]:
        """Topic, partition and offset of the action's record."""
        return self.topic, self.partition, self.offset


class Receipts:
    """Issues and reads receipts under one service-wide key (32 bytes, AES-256-GCM)."""

    def __init__(self, key: bytes, topics: tuple[str, ...]) -> None:
        self._cipher = AESGCM(key)
        self._nonce = Nonces()
        self._topics = topics
        self._topic_indexes = {topic: topic_index for topic_index, topic in enumerate(topics)}

    def issue(self, topic: str, subject: str, key: bytes, partition: int, offset: int) -> str:
        """Return a receipt: base64url without padding."""
        plaintext = _HEADER.pack(partition, offset, key, self._topic_indexes[topic]) + subject.encode()
        nonce = self._nonce()
        return base64url.encode(nonce + self._cipher.encrypt(nonce, plaintext, None))

    def read(self, receipt: str) -> Receipt:
        """Return the contents of `receipt`.

        Raises:
            ValueError: not one of our receipts.
        """
        if len(receipt) > MAX_LENGTH:
            raise ValueError("not a receipt")
        try:
            raw = base64url.decode(receipt)
            plaintext = self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            raise ValueError("not a receipt") from None
        partition, offset, key, topic_index = _HEADER.unpack_from(plaintext)
        return Receipt(self._topics[topic_index], plaintext[_HEADER.size :].decode(), key, partition, offset)

"""Receipts: where an accepted action stands, readable by us alone.

A receipt names the record, so its status needs no row and tells nobody whether the person had acted before.
"""

from __future__ import annotations

import os
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

_HEAD: Final = struct.Struct(">HQ16sB")
_NONCE_BYTES: Final = 12
MAX_LENGTH: Final = 400


class Receipt(NamedTuple):
    """What a receipt says.

    `topic` is the intake topic, `subject` the slug of petition or case, `key` the dedupe key.
    """

    topic: str
    subject: str
    key: bytes
    partition: int
    offset: int


class Receipts:
    """Issues and reads receipts under one service-wide key (32 bytes, AES-256-GCM-SIV)."""

    def __init__(self, key: bytes, topics: tuple[str, ...]) -> None:
        self._cipher = AESGCMSIV(key)
        self._topics = topics
        self._numbers = {topic: number for number, topic in enumerate(topics)}

    def issue(self, topic: str, subject: str, key: bytes, partition: int, offset: int) -> str:
        """A receipt: base64url without padding."""
        plain = _HEAD.pack(partition, offset, key, self._numbers[topic]) + subject.encode()
        nonce = os.urandom(_NONCE_BYTES)
        return urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, plain, None)).rstrip(b"=").decode("ascii")

    def read(self, receipt: str) -> Receipt:
        """What `receipt` says.

        Raises:
            ValueError: not a receipt of ours.
        """
        if len(receipt) > MAX_LENGTH:
            raise ValueError("not a receipt")
        try:
            raw = urlsafe_b64decode(receipt.encode("ascii") + b"=" * (-len(receipt) % 4))
            plain = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            raise ValueError("not a receipt") from None
        partition, offset, key, number = _HEAD.unpack_from(plain)
        return Receipt(self._topics[number], plain[_HEAD.size :].decode(), key, partition, offset)

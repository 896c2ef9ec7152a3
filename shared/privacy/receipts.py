"""Receipts: where an accepted action stands, readable by us alone.

A receipt names the record, so its status needs no row and tells nobody whether the person had acted before.
"""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared import codes
from shared.privacy.nonces import NONCE_BYTES, Nonces

_HEAD: Final = struct.Struct(">HQ16sB")
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
MAX_LENGTH: Final = 400
_CODE_BYTES: Final = 8


def short_receipt(token_key: bytes, topic: str, partition: int, offset: int) -> str:
    """The short receipt of the submission at `offset`, such as `7KQ4-M2XD-9FJ4`: thank-you page and mail show the same.

    A keyed hash under the campaign's token key, which the intakes and notifications hold. It opens nothing and leads
    nowhere: it only lets a person see that page and mail mean the same act.
    """
    place = f"receipt|{topic}|{partition}|{offset}".encode()
    digest = hmac.digest(token_key, place, "sha256")[:_CODE_BYTES]
    return codes.written(int.from_bytes(digest, "big") >> _CODE_BYTES * 8 - codes.BITS)


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
    """Issues and reads receipts under one service-wide key (32 bytes, AES-256-GCM)."""

    def __init__(self, key: bytes, topics: tuple[str, ...]) -> None:
        self._cipher = AESGCM(key)
        self._nonce = Nonces()
        self._topics = topics
        self._numbers = {topic: number for number, topic in enumerate(topics)}

    def issue(self, topic: str, subject: str, key: bytes, partition: int, offset: int) -> str:
        """A receipt: base64url without padding."""
        plain = _HEAD.pack(partition, offset, key, self._numbers[topic]) + subject.encode()
        nonce = self._nonce()
        sealed = b2a_base64(nonce + self._cipher.encrypt(nonce, plain, None), newline=False)
        return sealed.translate(_URL_SAFE).rstrip(b"=").decode("ascii")

    def read(self, receipt: str) -> Receipt:
        """What `receipt` says.

        Raises:
            ValueError: not a receipt of ours.
        """
        if len(receipt) > MAX_LENGTH:
            raise ValueError("not a receipt")
        try:
            raw = urlsafe_b64decode(receipt.encode("ascii") + b"=" * (-len(receipt) % 4))
            plain = self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            raise ValueError("not a receipt") from None
        partition, offset, key, number = _HEAD.unpack_from(plain)
        return Receipt(self._topics[number], plain[_HEAD.size :].decode(), key, partition, offset)

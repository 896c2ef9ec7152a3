"""Keyed hashes that stand for an address: one of the mailbox, one of the address as it is handed to SMTP. Mail ids and
preference tokens derive from the same secret.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared import base64url
from shared.kafka.record_ref import RecordRef
from shared.privacy.addresses import canonical_address, canonical_domain

ADDRESS_RULES: Final = "2026-11"
"""The mailbox rules by which two spellings are one recipient, in every campaign. A change would split a person's
history.
"""
KEY_BYTES: Final = 16
TAG_BYTES: Final = 16


class RecipientKeys:
    """Keyed hashes and tokens under one service-wide secret of 32 bytes. Each purpose has its own key, derived with
    HKDF (RFC 5869).
    """

    def __init__(self, secret: bytes) -> None:
        self._recipient_key = _derive(secret, b"recipients")
        self._address_key = _derive(secret, b"addresses")
        self._token_key = _derive(secret, b"preference tokens")
        self._mail_key = _derive(secret, b"message ids")

    def recipient_key(self, address: str) -> bytes:
        """Return the recipient key of an address (16 bytes), the same for every spelling of one mailbox.

        Raises:
            ValueError: not an e-mail address.
        """
        canonical = canonical_address(address, ADDRESS_RULES)
        return hmac.digest(self._recipient_key, canonical.encode(), "sha256")[:KEY_BYTES]

    def address_key(self, smtp_address: str) -> bytes:
        """Return the key of an address in its SMTP form (16 bytes), another for every spelling.

        An answer about one spelling does not hold for another that we only take for the same mailbox.
        """
        return hmac.digest(self._address_key, smtp_address.encode(), "sha256")[:KEY_BYTES]

    def mail_id(self, mailing: str, first: RecordRef) -> bytes:
        """Return the id (16 bytes) of the mail of `mailing` whose first delivery was made by the record `first`."""
        material = f"{mailing}|{first.topic}|{first.partition}|{first.offset}"
        return hmac.digest(self._mail_key, material.encode(), "sha256")[:KEY_BYTES]

    def token(self, recipient: bytes) -> str:
        """Return the token with which the person behind `recipient` changes what they get; it does not expire."""
        return base64url.encode(recipient + self._tag(recipient))

    def read_token(self, token: str) -> bytes:
        """Return the recipient key in `token`.

        Raises:
            ValueError: not a token of ours.
        """
        if len(token) != -(-(KEY_BYTES + TAG_BYTES) * 4 // 3) or not token.isascii():
            raise ValueError("not a token of ours")
        raw = base64url.decode(token)
        recipient, tag = raw[:KEY_BYTES], raw[KEY_BYTES:]
        if not hmac.compare_digest(tag, self._tag(recipient)):
            raise ValueError("not a token of ours")
        return recipient

    def _tag(self, recipient: bytes) -> bytes:
        return hmac.digest(self._token_key, recipient, "sha256")[:TAG_BYTES]


def smtp_address(address: str) -> str:
    """Return `address` in the form for SMTP: as it was typed, with its domain in A-labels.

    Raises:
        ValueError: its domain is not valid.
    """
    local, _, domain = address.strip().rpartition("@")
    return f"{local}@{canonical_domain(domain)}"


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, None, b"milleplumes notifications " + purpose).derive(secret)

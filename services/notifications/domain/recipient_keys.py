"""What stands for an address: a keyed hash, one of the mailbox and one of the address as it is written to. The names of
mails, and the tokens by which a person leaves, follow from the same key.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.notifications.domain.plan import Place
from shared.privacy.addresses import canonical_address, canonical_domain

ADDRESS_RULES: Final = "2026-11"
"""The mailbox rules by which two spellings are one recipient, in every campaign. Changing them parts a person's
history.
"""
KEY_BYTES: Final = 16
TAG_BYTES: Final = 16


class RecipientKeys:
    """Names under one service-wide secret of 32 bytes. Each purpose has a key of its own, derived with HKDF (RFC
    5869).
    """

    def __init__(self, secret: bytes) -> None:
        self._address_key = _derived(secret, b"recipients")
        self._written_key = _derived(secret, b"addresses")
        self._token_key = _derived(secret, b"preference tokens")
        self._mail_key = _derived(secret, b"message ids")

    def key(self, address: str) -> bytes:
        """The recipient key of an address (16 bytes), the same for every spelling of one mailbox.

        Raises:
            ValueError: not an e-mail address.
        """
        canonical = canonical_address(address, ADDRESS_RULES)
        return hmac.digest(self._address_key, canonical.encode(), "sha256")[:KEY_BYTES]

    def address(self, written: str) -> bytes:
        """The key of an address as it is `written` to a relay (16 bytes), another for every spelling.

        What a server says of one spelling is not known of another that we only take for the same mailbox.
        """
        return hmac.digest(self._written_key, written.encode(), "sha256")[:KEY_BYTES]

    def mail_id(self, template: str, first: Place) -> bytes:
        """The name of the mail that is the first to cover the submission at `first` (16 bytes): the same at every
        attempt.
        """
        name = f"{template}|{first.topic}|{first.partition}|{first.offset}"
        return hmac.digest(self._mail_key, name.encode(), "sha256")[:KEY_BYTES]

    def token(self, recipient: bytes) -> str:
        """The token by which the person behind `recipient` sees and changes what they get; it does not age."""
        return urlsafe_b64encode(recipient + self._tag(recipient)).rstrip(b"=").decode("ascii")

    def read_token(self, token: str) -> bytes:
        """The recipient key in `token`.

        Raises:
            ValueError: not a token of ours.
        """
        if len(token) != -(-(KEY_BYTES + TAG_BYTES) * 4 // 3) or not token.isascii():
            raise ValueError("not a token of ours")
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        recipient, tag = raw[:KEY_BYTES], raw[KEY_BYTES:]
        if not hmac.compare_digest(tag, self._tag(recipient)):
            raise ValueError("not a token of ours")
        return recipient

    def _tag(self, recipient: bytes) -> bytes:
        return hmac.digest(self._token_key, recipient, "sha256")[:TAG_BYTES]


def written_address(address: str) -> str:
    """`address` as a relay gets it: as it was typed, with its domain in A-labels.

    Raises:
        ValueError: its domain is not one.
    """
    local, _, domain = address.strip().rpartition("@")
    return f"{local}@{canonical_domain(domain)}"


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, None, b"milleplumes notifications " + purpose).derive(secret)

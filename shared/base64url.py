"""Base64url without padding (RFC 4648, section 5), as events, receipts and links carry bytes."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from binascii import b2a_base64
from typing import Final

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def encode(raw: bytes) -> str:
    """Return `raw` as base64url. Faster than `base64.urlsafe_b64encode`: the intakes call it for each action."""
    return b2a_base64(raw, newline=False).translate(_URL_SAFE, b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes in `text`.

    Raises:
        ValueError: not ASCII, or not of a possible length.
    """
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))

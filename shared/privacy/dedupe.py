"""Keyed hashes by which a person's actions are recognised without keeping who the person is.

Each but `digest` is HMAC-SHA-256 under the campaign's dedupe key, cut to 16 bytes: 2^64 actions would be needed before
two are likely to collide. The first word of what is hashed keeps the purposes apart.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from base64 import urlsafe_b64encode
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

KEY_BYTES: Final = 16
DIGEST_BYTES: Final = 16
KEYS_PREPARED: Final = 1_024
"""Campaigns whose key is kept ready for hashing."""
_BLOCK_BYTES: Final = 64
_JOINER: Final = "\u034f"
_MARK: Final = "".join(
    sign for sign in map(chr, range(0x20000)) if unicodedata.combining(unicodedata.normalize("NFKD", sign)[0])
)
"""Every sign that, taken apart, begins with a mark. All of them are in the first two planes of Unicode."""
_MARKS: Final = re.compile(f"[{_MARK}]{{30}}")
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


def _keyed(key: bytes, text: str) -> bytes:
    return _hmac(key, text.encode())


def _hmac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104), cut: from the key's two prepared states, in half the time of `hmac.digest`."""
    begun, ending = _states(key)
    inner, outer = begun.copy(), ending.copy()
    inner.update(message)
    outer.update(inner.digest())
    return outer.digest()[:KEY_BYTES]


@lru_cache(maxsize=KEYS_PREPARED)
def _states(key: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    """SHA-256 begun with the inner and with the outer padded key."""
    if len(key) > _BLOCK_BYTES:
        key = hashlib.sha256(key).digest()
    padded = key.ljust(_BLOCK_BYTES, b"\0")
    return hashlib.sha256(padded.translate(_INNER)), hashlib.sha256(padded.translate(_OUTER))


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", stream_safe(text)).casefold().split())


def stream_safe(text: str) -> str:
    """`text` with a combining grapheme joiner after every 30 marks in a row, which no writing needs.

    Putting marks in order takes as long as the square of their number. UAX #15, section 13, Stream-Safe Text Format.
    """
    return text if text.isascii() else _MARKS.sub(f"\\g<0>{_JOINER}", text)


def signature_key(key: bytes, petition: str, address: str, names: tuple[str, str] | None = None) -> bytes:
    """Dedupe key of a signature.

    `address` is canonical; `names` (given, family) count only under `one_per: email_and_name`.
    """
    if names is None:
        return _keyed(key, f"v1|{petition}|{address}")
    return _keyed(key, f"v1|{petition}|{address}|{_folded(names[0])}|{_folded(names[1])}")


def act_key(key: bytes, case: str, kind: str, address: str) -> bytes:
    """Dedupe key of a share, pledge or task: one of a kind per person and case."""
    return _keyed(key, f"act|{case}|{kind}|{address}")


def person_key(key: bytes, case: str, address: str) -> bytes:
    """Names a person towards one case; by it messages are partitioned and counted a day."""
    return _keyed(key, f"person|{case}|{address}")


def message_key(key: bytes, case: str, kind: str, address: str, text: str, *, idempotency_key: str = "") -> bytes:
    """Dedupe key of a message: its text counts, and the Idempotency-Key so that a reused one never loses a letter."""
    written = hashlib.sha256(_folded(text).encode()).hexdigest()
    return _keyed(key, f"message|{case}|{kind}|{address}|{written}|{idempotency_key}")


def posted_key(key: bytes, case: str, kind: str, address: str, code: str) -> bytes:
    """Dedupe key of a letter or postcard that a person posted: one for each sheet, named by its `code`."""
    return _keyed(key, f"posted|{case}|{kind}|{address}|{code}")


def participant_key(key: bytes, address: str) -> bytes:
    """Names a person within a campaign."""
    return _keyed(key, f"participant|{address}")


def digest(key: bytes, content: bytes) -> bytes:
    """Names the content of a submission: equal for equal `content`.

    Keyed BLAKE2b (RFC 7693), which takes half as long as an HMAC. `content` is everything that may differ.
    """
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=key, person=b"digest").digest()


def network_hash(key: bytes, client: IPv4Address | IPv6Address) -> str:
    """Keyed hash (base64url, 11 characters) of the /24 or /64 that `client` is in."""
    kept = client.packed[:3] if isinstance(client, IPv4Address) else client.packed[:8]
    return urlsafe_b64encode(hmac.digest(key, b"network|" + kept, "sha256")[:8]).rstrip(b"=").decode()


def domain_hash(key: bytes, domain: str) -> str:
    """Keyed hash (base64url, 11 characters) of an e-mail domain in A-labels."""
    return urlsafe_b64encode(hmac.digest(key, b"domain|" + domain.encode(), "sha256")[:8]).rstrip(b"=").decode()

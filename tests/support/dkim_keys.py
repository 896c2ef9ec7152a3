"""Keys for signing mail, and the DNS that shows them to who verifies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def write_key(path: Path, bits: int = 2048) -> Path:
    """A new RSA key at `path`, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def dns(name: str, record: str) -> Callable[..., bytes | None]:
    """Answers with `record` when asked for `name`."""

    def answer(asked: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG001  dkimpy passes it by name
        return record.encode() if asked.decode().rstrip(".") == name else None

    return answer


def verified(message: bytes, name: str, record: str) -> bool:
    """Whether the independent verifier of dkimpy takes the signature of `message`."""
    return bool(dkim.verify(message, dnsfunc=dns(name, record)))

"""Keys for signing mail, and a DNS resolver that publishes them to verifiers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def write_key(path: Path, bits: int = 2048) -> Path:
    """Write a new RSA key to `path`, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def dns_resolver(name: str, record: str) -> Callable[..., bytes | None]:
    """Return a resolver that has only `record`, at `name`."""

    def resolve(asked: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG001  dkimpy passes it by name
        return record.encode() if asked.decode().rstrip(".") == name else None

    return resolve


def is_verified(message: bytes, name: str, record: str) -> bool:
    """Whether the independent verifier of dkimpy accepts the signature of `message`."""
    return bool(dkim.verify(message, dnsfunc=dns_resolver(name, record)))

"""The local keys: generated once, 0600, under the home. In production a key service holds them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from deploy.local.home import Home, write_private

RSA_BITS: Final = 3072
RSA_EXPONENT: Final = 65537
SECRET_BYTES: Final = 32

WRAPPING_PRIVATE: Final = "wrapping.key"
WRAPPING_PUBLIC: Final = "wrapping.pub"
RECEIPT: Final = "receipt.key"
RECIPIENT: Final = "recipient.key"
SIGNING: Final = "signing.key"
LEDGER: Final = "ledger.key"

NAMES: Final = (WRAPPING_PRIVATE, WRAPPING_PUBLIC, RECEIPT, RECIPIENT, SIGNING, LEDGER)


def create(home: Home) -> None:
    """Generate the missing keys. Existing ones never change: what they sealed would be lost."""
    generators: Mapping[str, Callable[[], bytes]] = {
        WRAPPING_PRIVATE: lambda: _private(rsa.generate_private_key(RSA_EXPONENT, RSA_BITS)),
        WRAPPING_PUBLIC: lambda: _public_half((home.keys / WRAPPING_PRIVATE).read_bytes()),
        RECEIPT: lambda: secrets.token_hex(SECRET_BYTES).encode(),
        RECIPIENT: lambda: secrets.token_hex(SECRET_BYTES).encode(),
        LEDGER: lambda: secrets.token_hex(SECRET_BYTES).encode(),
        SIGNING: lambda: _private(ed25519.Ed25519PrivateKey.generate()),
    }
    for name, generate in generators.items():
        if not (home.keys / name).exists():
            write_private(home.keys / name, generate())


def _private(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_half(private: bytes) -> bytes:
    key = serialization.load_pem_private_key(private, password=None)
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

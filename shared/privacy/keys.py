"""Campaign keys and how they are wrapped.

marathon creates them and stores only the wrapped form; holders of the private wrapping key open them. In production
the two classes stand for a KMS ("generate data key without plaintext", "decrypt") or Vault
(`transit/datakey/wrapped`, `transit/decrypt`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from shared.errors import SetupError
from shared.privacy.sealing import Sealer

DATA_KEY_BYTES: Final = 32


class KeyWrapper(Protocol):
    """Creates keys that it cannot open."""

    def create(self) -> bytes:
        """Return a new 32-byte data key, wrapped."""
        ...


class KeyOpener(Protocol):
    """Opens wrapped keys."""

    def open(self, wrapped: bytes) -> bytes:
        """Return the 32-byte data key in `wrapped`.

        Raises:
            ValueError: wrapped under another key.
        """
        ...


@dataclass(frozen=True, slots=True)
class CampaignKeys:
    """The opened keys of a campaign.

    `seal` has every version, for opening; `current_seal` is the version to seal under.
    """

    dedupe: bytes
    token: bytes
    seal: dict[int, Sealer]
    current_seal: int

    @property
    def sealer(self) -> Sealer:
        """The sealer of new submissions."""
        return self.seal[self.current_seal]


def _oaep() -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class PublicKeyWrapper:
    """RSA-OAEP with SHA-256 (RFC 8017) under the public half of the wrapping key pair."""

    def __init__(self, public_key_file: Path) -> None:
        key = serialization.load_pem_public_key(_read(public_key_file))
        if not isinstance(key, rsa.RSAPublicKey):
            raise SetupError(f"{public_key_file} is no RSA public key: set WRAPPING_PUBLIC_KEY_FILE")
        self._key = key

    def create(self) -> bytes:
        return self._key.encrypt(os.urandom(DATA_KEY_BYTES), _oaep())


class PrivateKeyOpener:
    """RSA-OAEP with SHA-256 (RFC 8017) under the private half of the wrapping key pair."""

    def __init__(self, private_key_file: Path) -> None:
        key = serialization.load_pem_private_key(_read(private_key_file), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise SetupError(f"{private_key_file} is no RSA private key: set WRAPPING_PRIVATE_KEY_FILE")
        self._key = key

    def open(self, wrapped: bytes) -> bytes:
        return self._key.decrypt(wrapped, _oaep())


def read_secret(path: Path) -> bytes:
    """Return the 32-byte secret that the file `path` has as hex.

    Raises:
        SetupError: no such file, or not 32 bytes of hex.
    """
    try:
        secret = bytes.fromhex(_read(path).decode("ascii").strip())
    except ValueError:
        raise SetupError(f"{path} must hold 64 hexadecimal digits") from None
    if len(secret) != DATA_KEY_BYTES:
        raise SetupError(f"{path} must hold 64 hexadecimal digits")
    return secret


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from None

"""marathon's settings."""

from __future__ import annotations

from pathlib import Path

from shared.settings import ServiceSettings


class MarathonSettings(ServiceSettings):
    """The settings of every service, and the files of the keys that only marathon has.

    `wrapping_public_key_file` is the public key that wraps campaign keys, `signing_key_file` the key with which
    marathon signs, `ledger_key_file` the secret (64 hexadecimal digits) that salts the rows of the ledger.
    """

    wrapping_public_key_file: Path | None = None
    signing_key_file: Path | None = None
    ledger_key_file: Path | None = None

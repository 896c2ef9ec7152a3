"""marathon's settings."""

from __future__ import annotations

from pathlib import Path

from shared.settings import ServiceSettings


class MarathonSettings(ServiceSettings):
    """Beside what every service reads: the keys that only marathon holds.

    `wrapping_public_key_file` is the half that wraps campaign keys without opening them, `signing_key_file` what
    marathon signs with.
    """

    wrapping_public_key_file: Path | None = None
    signing_key_file: Path | None = None

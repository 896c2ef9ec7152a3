"""Settings of an intake."""

from __future__ import annotations

from pathlib import Path

from shared.settings import ServiceSettings


class IntakeSettings(ServiceSettings):
    """As every service, and the files with the keys that an intake opens: campaigns' keys and its receipts."""

    wrapping_private_key_file: Path
    receipt_key_file: Path

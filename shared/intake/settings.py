"""Settings of an intake."""

from __future__ import annotations

from pathlib import Path

from shared.settings import ServiceSettings


class IntakeSettings(ServiceSettings):
    """The settings of every service, and the key files of an intake: for campaigns' keys and for receipts."""

    wrapping_private_key_file: Path
    receipt_key_file: Path

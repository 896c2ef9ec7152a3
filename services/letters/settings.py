"""Settings of letters."""

from __future__ import annotations

from shared.intake.settings import IntakeSettings


class LettersSettings(IntakeSettings):
    """Every role reads the same ones."""

    port: int = 8102

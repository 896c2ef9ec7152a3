"""Settings of letters."""

from __future__ import annotations

from shared.intake.process import IntakeSettings


class LettersSettings(IntakeSettings):
    """The settings of all roles."""

    port: int = 8102

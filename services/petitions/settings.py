"""Settings of petitions."""

from __future__ import annotations

from shared.intake.process import IntakeSettings


class PetitionsSettings(IntakeSettings):
    """The settings of all roles."""

    port: int = 8101

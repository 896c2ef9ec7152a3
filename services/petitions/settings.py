"""Settings of petitions."""

from __future__ import annotations

from shared.intake.settings import IntakeSettings


class PetitionsSettings(IntakeSettings):
    """Every role reads the same ones."""

    port: int = 8101

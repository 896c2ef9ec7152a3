"""letters' composition root: the application of each role."""

from __future__ import annotations

from typing import Literal

from fastapi import FastAPI

from services.letters.intake import create_intake
from services.letters.settings import LettersSettings

Role = Literal["intake", "counter"]


def create(settings: LettersSettings, role: Role) -> FastAPI:
    """The application of one process: `intake` takes messages from people, `counter` counts them."""
    if role == "intake":
        return create_intake(settings)
    from services.letters.consumers import create_counter

    return create_counter(settings)

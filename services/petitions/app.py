"""petitions' composition root: the application of each role."""

from __future__ import annotations

from typing import Literal

from fastapi import FastAPI

from services.petitions.intake import create_intake
from services.petitions.settings import PetitionsSettings

Role = Literal["intake", "counter"]


def create(settings: PetitionsSettings, role: Role) -> FastAPI:
    """The application of one process: `intake` takes actions from people, `counter` counts them."""
    if role == "intake":
        return create_intake(settings)
    from services.petitions.consumers import create_counter

    return create_counter(settings)

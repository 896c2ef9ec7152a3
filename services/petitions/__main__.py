"""`python -m services.petitions --role intake|counter`."""

from __future__ import annotations

from services.petitions.app import Role, create
from services.petitions.settings import PetitionsSettings
from shared.http.server import run_service

if __name__ == "__main__":
    run_service("petitions", "signatures and other acts", Role, create, PetitionsSettings, default="intake")

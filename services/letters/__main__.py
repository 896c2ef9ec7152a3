"""`python -m services.letters --role intake|counter`."""

from __future__ import annotations

from services.letters.app import Role, create
from services.letters.settings import LettersSettings
from shared.http.server import run_service

if __name__ == "__main__":
    run_service("letters", "letters and messages", Role, create, LettersSettings, default="intake")

"""`python -m services.letters --role intake|counter`."""

from __future__ import annotations

import argparse
from typing import get_args

from services.letters.app import Role, create
from services.letters.settings import LettersSettings
from shared.http.server import serve
from shared.logging import configure


def main() -> None:
    """Run one process until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m services.letters", description="letters and messages")
    parser.add_argument("--role", choices=get_args(Role), default="intake")
    role: Role = parser.parse_args().role
    settings = LettersSettings()
    configure("letters", role, settings.log_format)
    serve(create(settings, role), settings)


if __name__ == "__main__":
    main()

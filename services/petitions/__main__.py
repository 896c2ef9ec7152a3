"""`python -m services.petitions --role intake|counter`."""

from __future__ import annotations

import argparse
from typing import get_args

from services.petitions.app import Role, create
from services.petitions.settings import PetitionsSettings
from shared.http.server import serve
from shared.logging import configure


def main() -> None:
    """Run one process until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m services.petitions", description="signatures and other acts")
    parser.add_argument("--role", choices=get_args(Role), default="intake")
    role: Role = parser.parse_args().role
    settings = PetitionsSettings()
    configure("petitions", role, settings.log_format)
    serve(create(settings, role), settings)


if __name__ == "__main__":
    main()

"""`python -m services.marathon --role all|web|ledger`."""

from __future__ import annotations

import argparse
from typing import get_args

from services.marathon.app import Role, create
from services.marathon.settings import MarathonSettings
from shared import logging
from shared.http.server import serve


def main() -> None:
    """Run one process until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m services.marathon", description="campaigns, totals, live board")
    parser.add_argument("--role", choices=get_args(Role), default="all")
    role: Role = parser.parse_args().role
    settings = MarathonSettings()
    logging.configure("marathon", role, settings.log_format)
    serve(create(settings, role), settings)


if __name__ == "__main__":
    main()

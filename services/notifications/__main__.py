"""`python -m services.notifications --role consumer|sender|web|all`"""

from __future__ import annotations

import argparse
from typing import get_args

from services.notifications.app import SERVICE, Role, create
from services.notifications.settings import Settings
from shared.http.server import serve
from shared.logging import configure


def main() -> None:
    """Read the role and the settings, and serve until the process is stopped."""
    parser = argparse.ArgumentParser(prog="services.notifications", description="E-mail to participants")
    parser.add_argument("--role", choices=get_args(Role), default="all")
    role: Role = parser.parse_args().role
    settings = Settings()
    configure(SERVICE, role, settings.log_format)
    serve(create(settings, role), settings)


if __name__ == "__main__":
    main()

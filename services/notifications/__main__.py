"""`python -m services.notifications --role consumer|sender|web|all`."""

from __future__ import annotations

from services.notifications.app import Role, create
from services.notifications.settings import Settings
from shared.http.server import run_service

if __name__ == "__main__":
    run_service("notifications", "e-mail to participants", Role, create, Settings, default="all")

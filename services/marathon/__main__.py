"""`python -m services.marathon --role all|web|ledger`."""

from __future__ import annotations

from services.marathon.app import Role, create
from services.marathon.settings import MarathonSettings
from shared.http.server import run_service

if __name__ == "__main__":
    run_service("marathon", "campaigns, totals, live board", Role, create, MarathonSettings, default="all")

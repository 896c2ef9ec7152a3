"""Passwords of the local database roles: generated once, stored 0600 in the home."""

from __future__ import annotations

import json
import secrets

from deploy.local.home import Home, write_private

PASSWORD_BYTES = 24


def passwords(home: Home, *names: str) -> dict[str, str]:
    """Return the passwords of the roles `names`; missing ones are generated."""
    stored: dict[str, str] = json.loads(home.passwords.read_text()) if home.passwords.exists() else {}
    missing = {name: secrets.token_urlsafe(PASSWORD_BYTES) for name in names if name not in stored}
    if missing:
        stored |= missing
        write_private(home.passwords, json.dumps(stored, indent=1).encode())
    return {name: stored[name] for name in names}

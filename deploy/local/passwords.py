"""Passwords of the local database roles: made once, kept 0600 in the home."""

from __future__ import annotations

import json
import secrets

from deploy.local.home import Home, write_private

PASSWORD_BYTES = 24


def passwords(home: Home, *names: str) -> dict[str, str]:
    """The passwords of the roles `names`; those not yet made are made now."""
    kept: dict[str, str] = json.loads(home.passwords.read_text()) if home.passwords.exists() else {}
    missing = {name: secrets.token_urlsafe(PASSWORD_BYTES) for name in names if name not in kept}
    if missing:
        kept |= missing
        write_private(home.passwords, json.dumps(kept, indent=1).encode())
    return {name: kept[name] for name in names}

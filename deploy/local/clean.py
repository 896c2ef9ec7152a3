"""`make clean`: delete the local folder and PostgreSQL's data outside of it. Standard library only."""

from __future__ import annotations

import os
import sys

from deploy.local.home import home_at, remove


def main() -> None:
    """Delete the home that MILLE_HOME names, unless a platform is up in it."""
    home = home_at(os.environ.get("MILLE_HOME", ""))
    if home.in_use():
        sys.exit(f"a platform is up in {home.root}: stop it first")
    try:
        remove(home)
    except PermissionError as error:
        sys.exit(f"{error.filename} belongs to another user: clean as that user")


if __name__ == "__main__":
    main()

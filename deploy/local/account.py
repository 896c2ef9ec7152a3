"""Choose PostgreSQL's account: ours, or an ordinary one if we are root, since PostgreSQL refuses root."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.errors import SetupError

ORDINARY_NAMES: Final = ("nobody", "daemon")
CHECK_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the operating system."""

    name: str
    uid: int
    gid: int

    def reaches(self, path: Path) -> bool:
        """Whether this account may enter the folder, or run the program, at `path`."""
        result = subprocess.run(
            ["/usr/bin/env", "test", "-x", str(path)],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            timeout=CHECK_SECONDS,
            check=False,
        )
        return result.returncode == 0


def database_account() -> Account | None:
    """Return the account to drop to, or None if we are an ordinary user already.

    Raises:
        SetupError: we are root and the system has no ordinary account to drop to.
    """
    if os.geteuid() != 0:
        return None
    for name in ORDINARY_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise SetupError(f"PostgreSQL does not run as root and there is no account {' or '.join(ORDINARY_NAMES)}")

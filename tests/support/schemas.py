"""The schema of a database as text, by PostgreSQL's own pg_dump."""

from __future__ import annotations

import re
import subprocess
from typing import Final

from deploy.local.postgres import wheel_programs

DUMP_SECONDS: Final = 60
_NOISE: Final = re.compile(r"(--|SET |SELECT pg_catalog\.set_config|\\)")
"""Comments, settings of the session, and commands of psql with a random key."""


def dump(url: str) -> str:
    """The statements that make the schema of the database at `url`, without its owner, in a fixed order."""
    printed = subprocess.run(
        [str(wheel_programs() / "pg_dump"), "--schema-only", "--no-owner", "--dbname", url],
        capture_output=True,
        text=True,
        timeout=DUMP_SECONDS,
        check=True,
    ).stdout
    lines = [line for line in printed.splitlines() if not _NOISE.match(line)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"

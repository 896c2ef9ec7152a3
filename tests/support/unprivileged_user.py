"""Running the project as an unprivileged user, even where root runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.account import Account, database_account
from deploy.local.home import PROJECT

VERSION: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
SYSTEM_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class UnprivilegedUser:
    """How an unprivileged user runs Python here: `account` is None where the tests run unprivileged."""

    account: Account | None
    python: str
    project: Path
    environment: dict[str, str]


@contextmanager
def unprivileged_user(folder: Path) -> Iterator[UnprivilegedUser]:
    """Yield an unprivileged user who can read the project and its packages and write to `folder`.

    What only root can read is copied to `folder`.
    """
    account = database_account()
    if account is None:
        yield UnprivilegedUser(None, sys.executable, PROJECT, {})
        return
    os.chown(folder, account.uid, account.gid)
    packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
    project = _make_readable(account, PROJECT, folder / "project", ("deploy", "services", "shared", ".cache/kafka"))
    packages = _make_readable(account, packages, folder / "packages", (".",))
    python, home = _python(account, folder / "python")
    environment = {"PYTHONPATH": f"{project}:{packages}", "HOME": str(folder), **home}
    yield UnprivilegedUser(account, python, project, environment)


def _python(account: Account, target: Path) -> tuple[str, dict[str, str]]:
    """Return a Python of our version that `account` can run, and the environment variables that it needs."""
    system = shutil.which(VERSION, path=SYSTEM_PATH)
    for candidate in (sys.executable, system):
        if candidate and account.reaches(Path(candidate)):
            return candidate, {}
    _copy(Path(sys.base_prefix), target, ("bin", "lib"))
    return str(target / "bin" / VERSION), {"PYTHONHOME": str(target)}


def _make_readable(account: Account, source: Path, target: Path, parts: tuple[str, ...]) -> Path:
    if account.reaches(source):
        return source
    _copy(source, target, parts)
    return target


def _copy(source: Path, target: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["/bin/cp", "-a", "--reflink=auto", str(source / part), str(target / part)], check=True, timeout=120
        )
    subprocess.run(["/bin/chmod", "-R", "a+rX", str(target)], check=True, timeout=60)

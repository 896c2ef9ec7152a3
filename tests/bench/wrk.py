"""Finds wrk, the load generator: an existing one, by Will Glozer, packaged by Debian and others."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.home import PROJECT
from shared.errors import SetupError

PACKAGES: Final = ("wrk", "libluajit-5.1-2", "libluajit-5.1-common")
FOLDER: Final = PROJECT / ".cache" / "wrk"
FETCH_SECONDS: Final = 120
INSTALL_HINT: Final = (
    "the load generator `wrk` is missing. Debian, Ubuntu: `apt-get install wrk`; Fedora: `dnf install wrk`; "
    "Arch: `pacman -S wrk`; or put a `wrk` that was built elsewhere on the PATH"
)


@dataclass(frozen=True, slots=True)
class Wrk:
    """A wrk that runs here, and what its environment must say."""

    program: str
    environment: Mapping[str, str]


def find() -> Wrk:
    """wrk from the PATH, else Debian's package unpacked into the clone's cache, which needs no root.

    Raises:
        SetupError: there is none and none can be fetched; the message says how to get it.
    """
    if installed := shutil.which("wrk"):
        return Wrk(installed, {})
    if not _unpacked().exists():
        _fetch()
    libraries = {str(found.parent) for found in FOLDER.glob("usr/lib/**/libluajit*.so*")}
    return Wrk(str(_unpacked()), {"LD_LIBRARY_PATH": os.pathsep.join(sorted(libraries))})


def _unpacked() -> Path:
    return FOLDER / "usr" / "bin" / "wrk"


def _fetch() -> None:
    apt, unpack = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if not apt or not unpack:
        raise SetupError(INSTALL_HINT)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        try:
            _run([apt, "download", *PACKAGES], folder)
            for package in sorted(Path(folder).glob("*.deb")):
                _run([unpack, "-x", str(package), str(FOLDER)], folder)
        except (subprocess.SubprocessError, OSError) as error:
            raise SetupError(INSTALL_HINT) from error


def _run(argv: list[str], folder: str) -> None:
    subprocess.run(argv, cwd=folder, check=True, timeout=FETCH_SECONDS, capture_output=True)

"""A real Chromium: Debian's where there is one, else the one that comes with the web packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.local.home import PROJECT

PACKAGES: Final = PROJECT / "shared" / "web" / "frontend" / "node_modules"
AXE: Final = PACKAGES / "axe-core" / "axe.min.js"
FLAGS: Final = (
    "--no-sandbox",  # it opens our own pages only, and may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
UNPACK_SECONDS: Final = 120
_NAMES: Final = ("chromium", "chromium-browser")
_UNPACK: Final = """
const [from, to] = process.argv.slice(1);
const { createReadStream, createWriteStream } = require("fs");
require("stream").pipeline(
  createReadStream(from), require("zlib").createBrotliDecompress(), createWriteStream(to, { mode: 0o755 }),
  (error) => { if (error) throw error; });
"""


@dataclass(frozen=True, slots=True)
class Chromium:
    """A program and the environment it needs."""

    program: Path
    environment: dict[str, str] = field(default_factory=dict)


def find() -> Chromium:
    """The Chromium of this machine, else the packaged one, unpacked once.

    Raises:
        FileNotFoundError: neither is there.
        subprocess.SubprocessError: it could not be unpacked.
    """
    for name in _NAMES:
        if (found := shutil.which(name)) is not None:
            return Chromium(Path(found))
    packaged = PACKAGES / "@sparticuz" / "chromium"
    if not packaged.is_dir():
        raise FileNotFoundError(f"{packaged}: run `make setup`")
    return _unpacked(packaged)


def _unpacked(packaged: Path) -> Chromium:
    cache = PROJECT / ".cache"
    parent = cache if os.access(cache if cache.exists() else PROJECT, os.W_OK) else Path(tempfile.gettempdir())
    place = parent / f"chromium-{(packaged / 'package.json').stat().st_mtime_ns}-{os.getuid()}"
    if not place.exists():
        parent.mkdir(exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=parent))
        _unpack(packaged / "bin", making)
        try:
            making.rename(place)
        except OSError:  # another run was faster
            shutil.rmtree(making)
    environment = {"LD_LIBRARY_PATH": str(place / "lib"), "FONTCONFIG_FILE": str(place / "fonts.conf")}
    return Chromium(place / "chromium", environment)


def _unpack(source: Path, place: Path) -> None:
    node = Path(sys.executable).parent / "node"
    for name in ("chromium", "al2023.tar", "fonts.tar"):
        subprocess.run([node, "-e", _UNPACK, source / f"{name}.br", place / name], check=True, timeout=UNPACK_SECONDS)
    for name in ("al2023.tar", "fonts.tar"):
        with tarfile.open(place / name) as archive:
            archive.extractall(place, filter="data")
        (place / name).unlink()
    # The packaged file names folders of another machine.
    (place / "fonts.conf").write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">'
        '<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>'
    )

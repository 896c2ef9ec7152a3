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
    "--no-sandbox",  # it opens only our own pages, and may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
UNPACK_SECONDS: Final = 120
_PROGRAM_NAMES: Final = ("chromium", "chromium-browser")
_DECOMPRESS_SCRIPT: Final = """
const [from, to] = process.argv.slice(1);
const { createReadStream, createWriteStream } = require("fs");
require("stream").pipeline(
  createReadStream(from), require("zlib").createBrotliDecompress(), createWriteStream(to, { mode: 0o755 }),
  (error) => { if (error) throw error; });
"""


@dataclass(frozen=True, slots=True)
class Chromium:
    """A program and its environment variables."""

    program: Path
    environment: dict[str, str] = field(default_factory=dict)


def find_chromium() -> Chromium:
    """Return the Chromium of this machine, else the packaged one, unpacked once.

    Raises:
        FileNotFoundError: neither exists.
        subprocess.SubprocessError: it could not be unpacked.
    """
    for name in _PROGRAM_NAMES:
        if (program := shutil.which(name)) is not None:
            return Chromium(Path(program))
    packaged = PACKAGES / "@sparticuz" / "chromium"
    if not packaged.is_dir():
        raise FileNotFoundError(f"{packaged}: run `make setup`")
    return _unpack_once(packaged)


def _unpack_once(packaged: Path) -> Chromium:
    cache = PROJECT / ".cache"
    parent = cache if os.access(cache if cache.exists() else PROJECT, os.W_OK) else Path(tempfile.gettempdir())
    target = parent / f"chromium-{(packaged / 'package.json').stat().st_mtime_ns}-{os.getuid()}"
    if not target.exists():
        parent.mkdir(exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=parent))
        _unpack(packaged / "bin", temporary)
        try:
            temporary.rename(target)
        except OSError:  # another run was faster
            shutil.rmtree(temporary)
    environment = {"LD_LIBRARY_PATH": str(target / "lib"), "FONTCONFIG_FILE": str(target / "fonts.conf")}
    return Chromium(target / "chromium", environment)


def _unpack(source: Path, target: Path) -> None:
    node = Path(sys.executable).parent / "node"
    for name in ("chromium", "al2023.tar", "fonts.tar"):
        subprocess.run(
            [node, "-e", _DECOMPRESS_SCRIPT, source / f"{name}.br", target / name], check=True, timeout=UNPACK_SECONDS
        )
    for name in ("al2023.tar", "fonts.tar"):
        with tarfile.open(target / name) as archive:
            archive.extractall(target, filter="data")
        (target / name).unlink()
    # The packaged file names folders of another machine.
    (target / "fonts.conf").write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">'
        '<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>'
    )

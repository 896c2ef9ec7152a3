"""Small disks: an ext4 in a file, mounted over a loop device, that can be filled to the last block."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

COMMAND_S: Final = 60
FILLER: Final = "filler"


class NoDiskError(Exception):
    """This machine does not let us mount a file system."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted disk."""

    folder: Path

    def fill(self) -> None:
        """Leave not one byte free."""
        with (self.folder / FILLER).open("ab") as file:
            size = 1 << 20
            while size:
                try:
                    os.write(file.fileno(), b"\0" * size)
                except OSError:
                    size //= 2

    def empty(self) -> None:
        """Give back what `fill` took."""
        (self.folder / FILLER).unlink(missing_ok=True)

    def unmount(self) -> None:
        """Take it away, whoever still looks at it."""
        _run("umount", "--lazy", str(self.folder))


def mount(folder: Path, size: int) -> Disk:
    """A new disk of `size` bytes at `folder`; its image lies beside it.

    Raises:
        NoDiskError: we may not, or the tools are missing.
    """
    image = folder.with_name(f"{folder.name}.img")
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(size)
    # No blocks are kept back for root: full is full for everybody.
    _run("mkfs.ext4", "-q", "-m", "0", str(image))
    _run("mount", "-o", "loop", str(image), str(folder))
    return Disk(folder)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    except FileNotFoundError as error:
        raise NoDiskError(f"there is no {command[0]} on this machine") from error
    if done.returncode != 0:
        raise NoDiskError(f"{command[0]} is not allowed here: {done.stderr.strip()}")

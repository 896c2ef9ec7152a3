"""`mille` commands against a running system, as an operator types them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.local.home import PROJECT
from deploy.local.settings import LocalSettings

TIMEOUT_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class CommandResult:
    """A finished command. `output` holds both of its streams."""

    code: int
    output: str


def mille(home: Path, *arguments: str) -> CommandResult:
    """Run `mille ARGUMENTS` against the platform of `home`."""
    ours = {name.upper() for name in LocalSettings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.mille", *arguments],
        env={**environment, "MILLE_HOME": str(home)},
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return CommandResult(ended.returncode, ended.stdout.decode())

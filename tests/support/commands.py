"""`mille` commands against a running system, as an operator types them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local.home import PROJECT
from deploy.local.settings import LocalSettings

LIMIT_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended. `output` holds what it said on both streams."""

    code: int
    output: str


def mille(home: Path, *arguments: str) -> Done:
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
        timeout=LIMIT_SECONDS,
        check=False,
    )
    return Done(ended.returncode, ended.stdout.decode())


def wait_for(good: Callable[[], bool], what: str, within: float = 60.0) -> None:
    """Wait until `good()`."""
    deadline = time.monotonic() + within
    while not good():
        assert time.monotonic() < deadline, f"{what} did not happen within {within} s"
        time.sleep(0.1)

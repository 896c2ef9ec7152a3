"""Starts `mille run` as people do, in a home and on ports of its own, and stops it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT, Home, remove
from deploy.local.ports import free
from deploy.local.settings import DEFAULT_PORTS, EXTRA_PORTS, LocalSettings
from tests.support.ordinary import Ordinary

START_SECONDS: Final = 170.0
STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05
OURSELVES: Final = Ordinary(None, sys.executable, PROJECT, {})
EXTRAS: Final = range(4)
"""The numbers of a role's processes, the first counted as 0: no test starts more."""
WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
WORKERS: Final = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
OFFSETS: Final = range(10_000, 22_000, EXTRA_PORTS * (len(EXTRAS) + 1))[WORKER::WORKERS]
"""Offsets that keep every port below those that the system hands out by itself. Tests that run side by side have none
in common.
"""
_untried: Final = iter(random.sample(OFFSETS, len(OFFSETS)))


@dataclass(frozen=True, slots=True)
class Running:
    """One `mille run`: its process, its home, and what it printed."""

    process: subprocess.Popen[bytes]
    home: Home
    output: Path

    def endpoints(self) -> Endpoints:
        """Where everything is now: pids change when a process is started again."""
        content: Endpoints = json.loads(self.home.endpoints.read_text())
        return content

    def pid(self, service: str, role: str) -> int:
        """The process id of the first process of a role."""
        return next(
            process["pid"]
            for process in self.endpoints()["processes"]
            if (process["service"], process["role"]) == (service, role)
        )

    def said(self) -> str:
        """Everything it has printed."""
        return self.output.read_text()

    def wait_until_up(self) -> Endpoints:
        """Wait for its `endpoints.json`; fail, with what it printed, if it ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not self.home.endpoints.exists():
            assert self.process.poll() is None, f"`mille run` ended:\n{self.said()}"
            assert time.monotonic() < deadline, f"`mille run` is not up:\n{self.said()}"
            time.sleep(POLL_SECONDS)
        return self.endpoints()

    def wait_until_up_anew(self, before: Mapping[str, int]) -> Endpoints:
        """As `wait_until_up`, after a killed run that left its file, with the pids `before`, behind."""
        deadline = time.monotonic() + START_SECONDS
        while self.wait_until_up()["platform"] == before:
            assert time.monotonic() < deadline, f"`mille run` is not up:\n{self.said()}"
            time.sleep(POLL_SECONDS)
        return self.endpoints()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it `number` and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


def free_offset() -> int:
    """A MILLE_PORT_OFFSET, another one each time, under which every port is free, those of further processes too."""
    for offset in _untried:
        if all(free(port + offset + EXTRA_PORTS * extra) for port in DEFAULT_PORTS.values() for extra in EXTRAS):
            return offset
    raise AssertionError("no free ports")


@contextmanager
def temporary_home() -> Iterator[Home]:
    """A home that is deleted afterwards, with what PostgreSQL keeps elsewhere."""
    folder = Path(tempfile.mkdtemp(prefix="milleplumes-test-"))
    folder.chmod(0o755)
    home = Home(folder / "home")
    try:
        yield home
    finally:
        remove(home)
        shutil.rmtree(folder)


@contextmanager
def mille_run(
    home: Home, *arguments: str, environment: Mapping[str, str] | None = None, user: Ordinary = OURSELVES
) -> Iterator[Running]:
    """`mille run ARGUMENTS` in `home`; it is stopped at the end if it has not ended by itself."""
    output = home.root.with_name(f"{home.root.name}.output")
    account = user.account
    given = {"MILLE_HOME": str(home.root), "MILLE_PORT_OFFSET": str(free_offset()), **(environment or {})}
    ours = {name.upper() for name in LocalSettings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    with output.open("ab") as file:
        process = subprocess.Popen(
            [user.python, "-m", "deploy.mille", "run", *arguments],
            env={**kept, **user.environment, **given},
            cwd=user.project,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        running = Running(process, home, output)
        try:
            yield running
        finally:
            running.stop()

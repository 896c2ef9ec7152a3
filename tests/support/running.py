"""Start `mille run` as people do, in a home and on ports of its own, and stop it."""

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
from deploy.local.ports import is_free
from deploy.local.settings import DEFAULT_PORTS, EXTRA_PORTS, LocalSettings
from tests.support.unprivileged_user import UnprivilegedUser

START_SECONDS: Final = 170.0
STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05
OUR_ACCOUNT: Final = UnprivilegedUser(None, sys.executable, PROJECT, {})
INSTANCE_NUMBERS: Final = range(4)
"""The numbers of a role's processes, the first counted as 0: no test starts more."""
WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
WORKERS: Final = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
OFFSETS: Final = range(10_000, 22_000, EXTRA_PORTS * (len(INSTANCE_NUMBERS) + 1))[WORKER::WORKERS]
"""Offsets that keep every port below the system's ephemeral ports. Parallel test workers share none of them."""
_untried_offsets: Final = iter(random.sample(OFFSETS, len(OFFSETS)))


@dataclass(frozen=True, slots=True)
class MilleRun:
    """One `mille run`: its process, its home, and its output."""

    process: subprocess.Popen[bytes]
    home: Home
    output_file: Path

    def endpoints(self) -> Endpoints:
        """Read the present endpoints: pids change when a process is restarted."""
        content: Endpoints = json.loads(self.home.endpoints.read_text())
        return content

    def pid(self, service: str, role: str) -> int:
        """Return the process id of the first process of a role."""
        return next(
            process["pid"]
            for process in self.endpoints()["processes"]
            if (process["service"], process["role"]) == (service, role)
        )

    def output_text(self) -> str:
        """Return everything it has printed."""
        return self.output_file.read_text()

    def wait_until_up(self) -> Endpoints:
        """Wait for its `endpoints.json`; fail, with its output, if it ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not self.home.endpoints.exists():
            assert self.process.poll() is None, f"`mille run` ended:\n{self.output_text()}"
            assert time.monotonic() < deadline, f"`mille run` is not up:\n{self.output_text()}"
            time.sleep(POLL_SECONDS)
        return self.endpoints()

    def wait_until_restarted(self, before: Mapping[str, int]) -> Endpoints:
        """Wait as `wait_until_up`, after a killed run that left its file with the pids `before`."""
        deadline = time.monotonic() + START_SECONDS
        while self.wait_until_up()["platform"] == before:
            assert time.monotonic() < deadline, f"`mille run` is not up:\n{self.output_text()}"
            time.sleep(POLL_SECONDS)
        return self.endpoints()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it `number` and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


def free_offset() -> int:
    """Return a new MILLE_PORT_OFFSET under which every port is free, including those of further processes."""
    for offset in _untried_offsets:
        if all(
            is_free(port + offset + EXTRA_PORTS * extra)
            for port in DEFAULT_PORTS.values()
            for extra in INSTANCE_NUMBERS
        ):
            return offset
    raise AssertionError("no free ports")


@contextmanager
def temporary_home() -> Iterator[Home]:
    """Create a home that is deleted afterwards, with PostgreSQL's data outside of it."""
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
    home: Home, *arguments: str, environment: Mapping[str, str] | None = None, user: UnprivilegedUser = OUR_ACCOUNT
) -> Iterator[MilleRun]:
    """Run `mille run ARGUMENTS` in `home`; stop it at the end if it has not ended by itself."""
    output = home.root.with_name(f"{home.root.name}.output")
    account = user.account
    given = {"MILLE_HOME": str(home.root), "MILLE_PORT_OFFSET": str(free_offset()), **(environment or {})}
    ours = {name.upper() for name in LocalSettings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    with output.open("ab") as file:
        process = subprocess.Popen(
            [user.python, "-m", "deploy.mille", "run", *arguments],
            env={**inherited, **user.environment, **given},
            cwd=user.project,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        running = MilleRun(process, home, output)
        try:
            yield running
        finally:
            running.stop()

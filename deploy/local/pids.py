"""Pid files with start times, which identify our own processes, so that leftovers of a killed run can be ended."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from deploy.local.home import write_private

GRACE_SECONDS: Final = 10.0
KILL_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.05
STATE_FIELD: Final = 0
START_FIELD: Final = 19
"""Field 22 of proc(5)'s stat, counted from the first one after the command's name."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process and no other: pids are used again, but not with the same start time in the same boot."""

    pid: int
    started: int
    boot: str

    def alive(self) -> bool:
        return identify(self.pid) == self


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of the process `pid`; None if it has ended (a zombie has ended)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[STATE_FIELD] in "ZX":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ProcessIdentity(pid, int(fields[START_FIELD]), boot)


class PidFiles:
    """The pid files of one home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(self, name: str, pid: int, stop_signal: signal.Signals) -> None:
        """Record that `pid` runs `name` and that `stop_signal` asks it to end."""
        if identity := identify(pid):
            content = {**asdict(identity), "signal": int(stop_signal)}
            write_private(self._path(name), json.dumps(content).encode())

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def end_leftovers(self, print_line: Callable[[str], None]) -> None:
        """End every process left over from an earlier run, first by its stop signal, and remove all pid files."""
        for path in sorted(self._folder.glob("*.pid")):
            identity, stop_signal = _read(path)
            if identity and identity.alive():
                print_line(f"Ending {path.stem} (process {identity.pid}), left over from a run that was killed")
                _end_process(identity, stop_signal, GRACE_SECONDS)
            path.unlink(missing_ok=True)

    def end(self, pid: int, grace_seconds: float) -> None:
        """End the process `pid` if it is one of this home: by its stop signal, or by force after `grace_seconds`."""
        for path in self._folder.glob("*.pid"):
            identity, stop_signal = _read(path)
            if identity and identity.pid == pid and identity.alive():
                _end_process(identity, stop_signal, grace_seconds)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.pid"


def _read(path: Path) -> tuple[ProcessIdentity | None, int]:
    try:
        content = json.loads(path.read_text())
        return ProcessIdentity(content["pid"], content["started"], content["boot"]), content["signal"]
    except (OSError, ValueError, KeyError):
        return None, 0


def _end_process(identity: ProcessIdentity, stop_signal: int, grace_seconds: float) -> None:
    with suppress(ProcessLookupError):
        os.kill(identity.pid, stop_signal)
        if not _ended_within(identity, grace_seconds):
            os.killpg(identity.pid, signal.SIGKILL)
    _ended_within(identity, KILL_SECONDS)


def _ended_within(identity: ProcessIdentity, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while identity.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True

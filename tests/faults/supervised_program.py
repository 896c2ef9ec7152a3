"""Keep a program running as a supervisor does, and inject faults into it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import Final

from deploy.local.program import Program, spawn

FIRST_PAUSE_S: Final = 0.2
MAX_PAUSE_S: Final = 2.0
STABLE_AFTER_S: Final = 20.0
"""A program that ran for this long is restarted after the first pause again."""
POLL_S: Final = 0.05
PROBE_S: Final = 5.0
KILL_S: Final = 10.0


class SupervisedProgram:
    """A program that is restarted whenever it ends, until it is stopped.

    `program` may be replaced while it is down or before `restart`. `deaths` counts the unrequested ends.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.deaths = 0
        self._process: asyncio.subprocess.Process | None = None
        self._keep_task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def pid(self) -> int:
        """The process's id; 0 while it has none."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self.begin()
        await self.wait_until_ready()

    def begin(self) -> None:
        """Start it, and restart it from now on."""
        if self._keep_task is None:
            self._keep_task = asyncio.create_task(self._keep(), name=f"keep {self.name}")

    async def wait_until_ready(self, within: float | None = None) -> None:
        """Wait until it answers; fail with the end of its log if it does not."""
        deadline = time.monotonic() + (within or self.program.ready_seconds)
        while not (self.pid and await self._answers()):
            assert self._keep_task is not None, f"{self.name} is not to run"
            assert time.monotonic() < deadline, f"{self.name} is not ready; its log ends:\n{self.log_end()}"
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """Ask it to end, and kill it after its grace period. It stays down."""
        keeper, self._keep_task = self._keep_task, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.signal(signal.SIGCONT)
        self.signal(self.program.stop_signal)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), self.program.grace_seconds)
        self._end_group(process)
        await asyncio.wait_for(process.wait(), KILL_S)

    async def take_down(self) -> None:
        """Kill it and keep it down."""
        keeper, self._keep_task = self._keep_task, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})
        if self._process is not None:
            self._end_group(self._process)
            await asyncio.wait_for(self._process.wait(), KILL_S)

    async def restart(self) -> None:
        """Stop it gracefully and start it again."""
        await self.stop()
        await self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send it `number`."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send kill -9; it is restarted."""
        self.signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Send SIGSTOP: it exists and does nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT."""
        self.signal(signal.SIGCONT)

    def log_end(self) -> str:
        """Return the last lines of its log."""
        log = self.program.log
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else "(no log)"

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            while not self.program.has_room():  # noqa: ASYNC110  disks send no events
                await asyncio.sleep(POLL_S)
            began = time.monotonic()
            self._process = await spawn(self.program)
            await self._process.wait()
            self.deaths += 1
            self._end_group(self._process)
            if time.monotonic() - began > STABLE_AFTER_S:
                pause = FIRST_PAUSE_S
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_S)

    def _end_group(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    async def _answers(self) -> bool:
        try:
            return await asyncio.wait_for(self.program.ready(), PROBE_S)
        except TimeoutError:
            return False

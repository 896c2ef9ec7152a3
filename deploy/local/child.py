"""One supervised program: its present process, and its recent deaths."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from contextlib import suppress
from typing import Final

from deploy.local.program import Program, spawn

MAX_RESTARTS: Final = 20
RESTART_WINDOW_SECONDS: Final = 300.0
"""A program that dies more than `MAX_RESTARTS` times in this window is given up."""
MAX_RESTARTS_BEFORE_READY: Final = 2
"""A program that was never ready is given up sooner: it will hardly recover."""
BACK_OFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
KILL_SECONDS: Final = 10.0


class Child:
    """One program under supervision."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.was_ready = False
        self._process: asyncio.subprocess.Process | None = None
        self._deaths: deque[float] = deque(maxlen=MAX_RESTARTS + 1)

    @property
    def pid(self) -> int:
        """The process's id; 0 while it has none."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    @property
    def exit_description(self) -> str:
        """How the last process ended, in words."""
        code = self._process.returncode if self._process else None
        if code is None:
            return "not at all"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    @property
    def beyond_restart(self) -> bool:
        """Whether it has died more often than it may be restarted."""
        return self._recent_deaths() > (MAX_RESTARTS if self.was_ready else MAX_RESTARTS_BEFORE_READY)

    async def spawn(self) -> asyncio.subprocess.Process:
        """Start a process for it."""
        self._process = await spawn(self.program)
        return self._process

    def record_death(self) -> None:
        self._deaths.append(time.monotonic())

    def back_off(self) -> float:
        """Return the seconds to wait before the next start, which grow with its recent deaths."""
        return BACK_OFF_SECONDS[min(self._recent_deaths(), len(BACK_OFF_SECONDS)) - 1]

    async def stop(self) -> bool:
        """Ask it to end, and kill it after its grace period; return whether it ended by itself."""
        process = self._process
        if process is None or process.returncode is not None:
            return True
        with suppress(ProcessLookupError):
            process.send_signal(self.program.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), self.program.grace_seconds)
        except TimeoutError:
            self.kill()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), KILL_SECONDS)
            return False
        return True

    def kill(self) -> None:
        """Kill its process and the children that it left running."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _recent_deaths(self) -> int:
        now = time.monotonic()
        return sum(1 for death in self._deaths if now - death < RESTART_WINDOW_SECONDS)

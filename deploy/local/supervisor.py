"""Keeps programs running: starts them, waits until they are ready, restarts what dies, stops everything in the end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from deploy.local.pids import PidFiles
from deploy.local.program import Program, spawn
from shared.errors import SetupError

RESTARTS: Final = 10
RESTART_WINDOW_SECONDS: Final = 300.0
"""A program that dies more than `RESTARTS` times in this window is given up, and everything stops."""
BACK_OFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
POLL_SECONDS: Final = 0.1
PROBE_SECONDS: Final = 5.0
KILL_SECONDS: Final = 10.0


class Child:
    """One program and the process that runs it at the moment."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: asyncio.subprocess.Process | None = None
        self.deaths: deque[float] = deque(maxlen=RESTARTS + 1)

    @property
    def pid(self) -> int:
        """The process's id; 0 while there is none."""
        return self.process.pid if self.process and self.process.returncode is None else 0

    def died_too_often(self) -> bool:
        """Note a death; whether it is one too many."""
        self.deaths.append(time.monotonic())
        return len(self.deaths) > RESTARTS and self.deaths[-1] - self.deaths[0] < RESTART_WINDOW_SECONDS

    def back_off(self) -> float:
        """Seconds to wait before the next start: longer with each death of the last minutes."""
        recent = sum(1 for death in self.deaths if time.monotonic() - death < RESTART_WINDOW_SECONDS)
        return BACK_OFF_SECONDS[min(recent, len(BACK_OFF_SECONDS)) - 1]


class Supervisor:
    """Runs programs until it is told to stop or one of them cannot be kept running.

    `say` prints a line for people; `on_change` is called whenever a process is replaced by another.
    """

    def __init__(self, pids: PidFiles, say: Callable[[str], None]) -> None:
        self._pids = pids
        self._say = say
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self.children: dict[str, Child] = {}
        self.on_change: Callable[[], None] = lambda: None

    async def start(self, *programs: Program) -> None:
        """Start `programs` side by side and return when all of them are ready.

        Raises:
            SetupError: one of them died for good or was not ready in its time.
        """
        for program in programs:
            child = self.children[program.name] = Child(program)
            self._keepers[program.name] = asyncio.create_task(self._keep(child), name=program.name)
        waits = [asyncio.create_task(self._until_ready(program)) for program in programs]
        gone = asyncio.create_task(self.failed())
        try:
            for wait in waits:
                await asyncio.wait((wait, gone), return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    gone.result()
                wait.result()
        finally:
            for task in (*waits, gone):
                task.cancel()

    async def failed(self) -> None:
        """Wait for ever, or until a program cannot be kept running.

        Raises:
            SetupError: that program, and where its log is.
        """
        done, _ = await asyncio.wait(self._keepers.values(), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Stop every program, the last started first, and end by force what does not end by itself."""
        self._stopping.set()
        for child in reversed(self.children.values()):
            await self._stop(child)
        for task in self._keepers.values():
            task.cancel()
        await asyncio.gather(*self._keepers.values(), return_exceptions=True)

    def kill(self) -> None:
        """End every process at once: for whoever presses Ctrl-C a second time."""
        for child in self.children.values():
            _kill_group(child)

    async def _keep(self, child: Child) -> None:
        program = child.program
        while not self._stopping.is_set():
            child.process = await spawn(program)
            self._pids.record(program.name, child.process.pid, program.stop_signal)
            self.on_change()
            code = await child.process.wait()
            if self._stopping.is_set():
                return
            _kill_group(child)
            if child.died_too_often():
                raise SetupError(f"{program.name} ended {RESTARTS + 1} times in a row; its log: {program.log}")
            pause = child.back_off()
            self._say(f"{program.name} ended ({_ending(code)}); starting it again in {pause:g} s; log: {program.log}")
            await asyncio.sleep(pause)

    async def _until_ready(self, program: Program) -> None:
        deadline = time.monotonic() + program.ready_within
        while not await _answers(program):
            if time.monotonic() > deadline:
                within = f"{program.ready_within:g} s"
                raise SetupError(f"{program.name} was not ready within {within}; its log: {program.log}")
            await asyncio.sleep(POLL_SECONDS)

    async def _stop(self, child: Child) -> None:
        process = child.process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(child.program.stop_signal)
            try:
                await asyncio.wait_for(process.wait(), child.program.grace)
            except TimeoutError:
                self._say(f"{child.program.name} did not stop within {child.program.grace:g} s: ending it")
                _kill_group(child)
                await asyncio.wait_for(process.wait(), KILL_SECONDS)
        self._pids.forget(child.program.name)


async def _answers(program: Program) -> bool:
    try:
        return await asyncio.wait_for(program.ready(), PROBE_SECONDS)
    except TimeoutError:
        return False


def _kill_group(child: Child) -> None:
    if child.process is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

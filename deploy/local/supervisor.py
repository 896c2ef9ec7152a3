"""Supervise programs: start them, wait until they are ready, restart those that die, stop all at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from deploy.local.cancellation import run_all, run_until_first_ends
from deploy.local.child import Child
from deploy.local.pids import PidFiles
from deploy.local.program import Program
from shared.errors import SetupError

POLL_SECONDS: Final = 0.1
PROBE_SECONDS: Final = 5.0
LOG_LINES: Final = 5
LOG_BYTES: Final = 4096


class Supervisor:
    """Runs programs until it is stopped or one of them cannot be kept running.

    `print_line` prints a line for people; `on_change` is called whenever a process was replaced.
    """

    def __init__(self, pids: PidFiles, print_line: Callable[[str], None]) -> None:
        self._pids = pids
        self._print_line = print_line
        self._groups: list[list[Child]] = []
        self._keep_tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None

    def pids(self) -> dict[str, int]:
        """Return the present process id of each program; 0 if it has none."""
        return {child.program.name: child.pid for group in self._groups for child in group}

    async def start(self, programs: Sequence[Program]) -> None:
        """Start `programs` concurrently and return when all of them are ready.

        Raises:
            SetupError: one of them keeps dying or was not ready in time.
        """
        group = [Child(program) for program in programs]
        self._groups.append(group)
        self._keep_tasks += [asyncio.create_task(self._keep_running(child), name=child.program.name) for child in group]
        ready = run_all(*(self._wait_until_ready(child) for child in group))
        await run_until_first_ends(ready, self.wait_for_failure())

    async def wait_for_failure(self) -> None:
        """Wait for ever, or until a program cannot be kept running.

        Raises:
            SetupError: it names the program and quotes the end of its log.
        """
        if not self._keep_tasks:
            await self._stopping.wait()
            return
        done, _ = await asyncio.wait(self._keep_tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Stop every program, the last group first, and kill those that do not end in time."""
        self._stopping.set()
        for group in reversed(self._groups):
            await asyncio.gather(*(self._stop(child) for child in group))
        for task in self._keep_tasks:
            task.cancel()
        await asyncio.gather(*self._keep_tasks, return_exceptions=True)

    def kill(self) -> None:
        """Kill every process at once, on a second Ctrl-C."""
        for group in self._groups:
            for child in group:
                child.kill()

    async def _keep_running(self, child: Child) -> None:
        program = child.program
        while not self._stopping.is_set():
            await self._wait_for_room(child)
            process = await child.spawn()
            self._pids.record(program.name, process.pid, program.stop_signal)
            self.on_change()
            await process.wait()
            if self._stopping.is_set():
                return
            child.kill()
            child.record_death()
            if child.beyond_restart:
                raise SetupError(f"{program.name} keeps ending ({child.exit_description}); {_log_tail(program)}")
            pause = child.back_off()
            self._print_line(f"{program.name} ended ({child.exit_description}); starting it again in {pause:g} s")
            await asyncio.sleep(pause)

    async def _wait_for_room(self, child: Child) -> None:
        program = child.program
        if not program.has_room():
            self._print_line(f"{program.name} waits: there is no room on the disk of {program.needs_room}")
        while not program.has_room():  # noqa: ASYNC110  disks send no events
            await asyncio.sleep(POLL_SECONDS)

    async def _wait_until_ready(self, child: Child) -> None:
        program = child.program
        deadline = time.monotonic() + program.ready_seconds
        while not (child.pid and await _is_ready(program)):
            if time.monotonic() > deadline:
                raise SetupError(f"{program.name} was not ready in {program.ready_seconds:g} s; {_log_tail(program)}")
            await asyncio.sleep(POLL_SECONDS)
        child.was_ready = True

    async def _stop(self, child: Child) -> None:
        if not await child.stop():
            self._print_line(
                f"{child.program.name} did not stop within {child.program.grace_seconds:g} s and was killed"
            )
        self._pids.remove(child.program.name)


async def _is_ready(program: Program) -> bool:
    try:
        return await asyncio.wait_for(program.ready(), PROBE_SECONDS)
    except TimeoutError:
        return False


def _log_tail(program: Program) -> str:
    """Return the path of the log of `program`, and its last lines."""
    with program.log.open("rb") as file:
        file.seek(max(0, program.log.stat().st_size - LOG_BYTES))
        lines = file.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join([f"its log {program.log} ends:", *lines])

"""Keeps programs running: starts them, waits until they are ready, restarts what dies, stops everything in the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from deploy.local.child import Child
from deploy.local.pids import PidFiles
from deploy.local.program import Program
from shared.errors import SetupError

POLL_SECONDS: Final = 0.1
PROBE_SECONDS: Final = 5.0
LOG_LINES: Final = 5
LOG_BYTES: Final = 4096


class Supervisor:
    """Runs programs until it is told to stop or one of them cannot be kept running.

    `say` prints a line for people; `on_change` is called whenever a process is replaced by another.
    """

    def __init__(self, pids: PidFiles, say: Callable[[str], None]) -> None:
        self._pids = pids
        self._say = say
        self._groups: list[list[Child]] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None

    def pids(self) -> dict[str, int]:
        """The id of each program's process at the moment; 0 where there is none."""
        return {child.program.name: child.pid for group in self._groups for child in group}

    async def start(self, programs: Sequence[Program]) -> None:
        """Start `programs` side by side and return when all of them are ready.

        Raises:
            SetupError: one of them died for good or was not ready in its time.
        """
        group = [Child(program) for program in programs]
        self._groups.append(group)
        self._keepers += [asyncio.create_task(self._keep(child), name=child.program.name) for child in group]
        ready = asyncio.gather(*(self._until_ready(child) for child in group))
        failed = asyncio.create_task(self.failed())
        try:
            await asyncio.wait((ready, failed), return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
            ready.result()
        finally:
            ready.cancel()
            failed.cancel()
            await asyncio.gather(ready, failed, return_exceptions=True)

    async def failed(self) -> None:
        """Wait for ever, or until a program cannot be kept running.

        Raises:
            SetupError: which program, and the end of its log.
        """
        if not self._keepers:
            await self._stopping.wait()
            return
        done, _ = await asyncio.wait(self._keepers, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Stop every program, the last group first, and end by force what does not end by itself."""
        self._stopping.set()
        for group in reversed(self._groups):
            await asyncio.gather(*(self._stop(child) for child in group))
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def kill(self) -> None:
        """End every process at once: for whoever presses Ctrl-C a second time."""
        for group in self._groups:
            for child in group:
                child.kill()

    async def _keep(self, child: Child) -> None:
        program = child.program
        while not self._stopping.is_set():
            await self._room(child)
            process = await child.spawn()
            self._pids.record(program.name, process.pid, program.stop_signal)
            self.on_change()
            await process.wait()
            if self._stopping.is_set():
                return
            child.kill()
            child.note_death()
            if child.hopeless:
                raise SetupError(f"{program.name} keeps ending ({child.ending}); {_log_of(program)}")
            pause = child.back_off()
            self._say(f"{program.name} ended ({child.ending}); starting it again in {pause:g} s")
            await asyncio.sleep(pause)

    async def _room(self, child: Child) -> None:
        if child.program.has_room():
            return
        self._say(f"{child.program.name} waits: there is no room on the disk of {child.program.needs_room}")
        while not child.program.has_room():  # noqa: ASYNC110  disks tell nobody
            await asyncio.sleep(POLL_SECONDS)

    async def _until_ready(self, child: Child) -> None:
        program = child.program
        deadline = time.monotonic() + program.ready_within
        while not (child.pid and await _answers(program)):
            if time.monotonic() > deadline:
                raise SetupError(f"{program.name} was not ready in {program.ready_within:g} s; {_log_of(program)}")
            await asyncio.sleep(POLL_SECONDS)
        child.was_ready = True

    async def _stop(self, child: Child) -> None:
        if not await child.end():
            self._say(f"{child.program.name} did not stop within {child.program.grace:g} s and was killed")
        self._pids.forget(child.program.name)


async def _answers(program: Program) -> bool:
    try:
        return await asyncio.wait_for(program.ready(), PROBE_SECONDS)
    except TimeoutError:
        return False


def _log_of(program: Program) -> str:
    """Where the log of `program` is, and how it ends."""
    with program.log.open("rb") as file:
        file.seek(max(0, program.log.stat().st_size - LOG_BYTES))
        lines = file.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join([f"its log {program.log} ends:", *lines])

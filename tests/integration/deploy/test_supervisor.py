from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.child import MAX_RESTARTS
from deploy.local.home import Home
from deploy.local.pids import PidFiles, identify
from deploy.local.program import Program
from deploy.local.supervisor import Supervisor
from shared.errors import SetupError
from tests.support.waiting import wait_until


class Sandbox:
    """A supervisor of little Python programs, and the lines that it printed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        home = Home(folder / "home")
        home.make()
        self.lines: list[str] = []
        self.pid_files = home.run
        self.supervisor = Supervisor(PidFiles(home.run), self.lines.append)

    def program(self, name: str, code: str, *, grace: float = 10.0) -> Program:
        """Return a program that runs `code` and is ready once it has written its file."""

        async def ready() -> bool:
            return self.file(name).exists()

        return Program(
            name=name,
            argv=(sys.executable, "-c", code, str(self.file(name))),
            environment=os.environ,
            log=self._folder / f"{name}.log",
            ready=ready,
            ready_seconds=20.0,
            grace_seconds=grace,
        )

    def file(self, name: str) -> Path:
        return self._folder / f"{name}.ready"


WAITS = "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).write_text('up'); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}; signal.pause()"
FAILS = "print('no such database'); raise SystemExit(3)"


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


async def wait_for(condition: asyncio.Event) -> None:
    await asyncio.wait_for(condition.wait(), 20)


async def test_what_cannot_start_is_given_up_with_the_end_of_its_log(sandbox: Sandbox) -> None:
    with pytest.raises(SetupError, match=r"failing keeps ending \(exit code 3\)(?s:.*)no such database"):
        await sandbox.supervisor.start([sandbox.program("failing", FAILS)])
    await sandbox.supervisor.stop()


async def test_one_that_cannot_start_does_not_keep_the_others_waiting(sandbox: Sandbox) -> None:
    with pytest.raises(SetupError, match="failing keeps ending"):
        await asyncio.wait_for(
            sandbox.supervisor.start(
                [sandbox.program("never-ready", "import signal; signal.pause()"), sandbox.program("failing", FAILS)]
            ),
            15,
        )
    pids = sandbox.supervisor.pids()
    await sandbox.supervisor.stop()
    assert identify(pids["never-ready"]) is None


async def test_what_dies_is_started_again_and_whoever_asked_is_told(sandbox: Sandbox) -> None:
    await sandbox.supervisor.start([sandbox.program("waiting", WAITS)])
    before = sandbox.supervisor.pids()["waiting"]
    changed = asyncio.Event()
    sandbox.supervisor.on_change = changed.set
    os.kill(before, signal.SIGKILL)
    await wait_for(changed)
    assert sandbox.supervisor.pids()["waiting"] not in (0, before)
    assert any("waiting ended (signal SIGKILL); starting it again" in line for line in sandbox.lines)
    await sandbox.supervisor.stop()


async def test_what_keeps_dying_ends_everything(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.child.BACK_OFF_SECONDS", (0.01,))
    await sandbox.supervisor.start([sandbox.program("waiting", WAITS)])

    def kill_it_again() -> None:
        os.kill(sandbox.supervisor.pids()["waiting"], signal.SIGKILL)

    sandbox.supervisor.on_change = kill_it_again
    kill_it_again()
    with pytest.raises(SetupError, match="waiting keeps ending"):
        await asyncio.wait_for(sandbox.supervisor.wait_for_failure(), 20)
    assert len(sandbox.lines) == MAX_RESTARTS
    await sandbox.supervisor.stop()


async def test_what_does_not_stop_in_its_time_is_killed(sandbox: Sandbox) -> None:
    await sandbox.supervisor.start([sandbox.program("stubborn", STUBBORN, grace=0.3)])
    pid = sandbox.supervisor.pids()["stubborn"]
    await sandbox.supervisor.stop()
    assert identify(pid) is None
    assert sandbox.lines == ["stubborn did not stop within 0.3 s and was killed"]


async def test_what_was_started_last_is_stopped_first(sandbox: Sandbox) -> None:
    code = (
        "import pathlib, signal, sys; p = pathlib.Path(sys.argv[1]);"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit((p.parent / 'order').open('a').write(p.stem + ' ') * 0));"
        "p.write_text('up'); signal.pause()"
    )
    await sandbox.supervisor.start([sandbox.program("first", code)])
    await sandbox.supervisor.start([sandbox.program("second", code)])
    await sandbox.supervisor.stop()
    assert (sandbox.file("first").parent / "order").read_text().split() == ["second", "first"]


async def test_pid_files_are_there_while_programs_run_and_gone_afterwards(sandbox: Sandbox) -> None:
    await sandbox.supervisor.start([sandbox.program("waiting", WAITS)])
    assert [path.name for path in sandbox.pid_files.glob("*.pid")] == ["waiting.pid"]
    await sandbox.supervisor.stop()
    assert not list(sandbox.pid_files.glob("*.pid"))


async def test_a_program_that_needs_room_is_not_started_before_there_is_some(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.program.ROOM_BYTES", 1 << 60)
    starting = asyncio.create_task(
        sandbox.supervisor.start([replace(sandbox.program("big", WAITS), needs_room=tmp_path)])
    )
    await wait_until(lambda: any("no room" in line for line in sandbox.lines))
    assert sandbox.supervisor.pids() == {"big": 0}
    monkeypatch.setattr("deploy.local.program.ROOM_BYTES", 0)
    await starting
    assert sandbox.supervisor.pids()["big"]
    await sandbox.supervisor.stop()

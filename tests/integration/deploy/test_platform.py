from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local import kafka, keys, postgres
from deploy.local.endpoints import Endpoints
from deploy.local.home import Home, remove
from deploy.local.pids import PidFiles, identify
from deploy.local.settings import DEFAULT_PORTS
from tests.support.running import MilleRun, free_offset, mille_run, temporary_home
from tests.support.unprivileged_user import unprivileged_user
from tests.support.waiting import wait_for

PLATFORM_ONLY = "--platform-only"
SLEEP = shutil.which("sleep") or "/bin/sleep"


@pytest.fixture
def home() -> Iterator[Home]:
    with temporary_home() as home:
        yield home


def ended(pid: int) -> bool:
    return identify(pid) is None


def pids_of(running: MilleRun) -> dict[str, int]:
    return running.endpoints()["platform"]


async def fetch_value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close(timeout=10)


async def test_a_stop_signal_ends_every_process_and_forgets_where_they_were(home: Home) -> None:
    with mille_run(home, PLATFORM_ONLY) as running:
        running.wait_until_up()
        pids = pids_of(running)
        assert set(pids) == {"kafka", "postgres", "mailbox"}
        assert running.stop(signal.SIGTERM) == 0
    assert all(ended(pid) for pid in pids.values())
    assert not home.endpoints.exists()


async def test_after_being_killed_it_starts_again_with_everything_it_had(home: Home) -> None:
    with mille_run(home, PLATFORM_ONLY) as killed:
        url = killed.wait_until_up()["databases"]["petitions"]
        await fetch_value(url, "INSERT INTO outbox (topic, partition, headers) VALUES ('kept', 42, '')")
        left_over = pids_of(killed)
        killed.stop(signal.SIGKILL)
    with mille_run(home, PLATFORM_ONLY) as again:
        wait_for(lambda: all(ended(pid) for pid in left_over.values()), "leftovers end")
        home_url = again.wait_until_restarted(left_over)["databases"]["petitions"]
        assert await fetch_value(home_url, "SELECT partition FROM outbox WHERE topic = 'kept'") == 42


def test_a_stop_in_the_middle_of_the_start_leaves_nothing_running(home: Home) -> None:
    with mille_run(home, PLATFORM_ONLY) as running:
        wait_for((home.run / "kafka.pid").exists, "the broker is started")
        pid = json.loads((home.run / "kafka.pid").read_text())["pid"]
        assert running.stop(signal.SIGINT) == 0
    assert ended(pid)
    assert not list(home.run.glob("*.pid"))


def test_killed_in_the_middle_of_its_first_start_it_starts_again(home: Home) -> None:
    with mille_run(home, PLATFORM_ONLY) as killed:
        wait_for(lambda: bool(list(home.root.glob("initialising-*"))), "the data folder is being made")
        killed.stop(signal.SIGKILL)
    with mille_run(home, PLATFORM_ONLY) as again:
        again.wait_until_up()
        assert again.stop() == 0


def test_what_a_killed_run_left_over_is_ended_before_anything_starts(home: Home) -> None:
    home.make()
    with subprocess.Popen([SLEEP, "600"], start_new_session=True) as left_over:
        PidFiles(home.run).record("left-over", left_over.pid, signal.SIGTERM)
        with mille_run(home, PLATFORM_ONLY) as running:
            assert left_over.wait(30) == -signal.SIGTERM
            wait_for(lambda: "Ending left-over" in running.output_text(), "it says so")


def test_a_process_that_only_has_the_same_number_is_left_alone(home: Home) -> None:
    home.make()
    with subprocess.Popen([SLEEP, "600"], start_new_session=True) as stranger:
        PidFiles(home.run).record("left-over", stranger.pid, signal.SIGTERM)
        file = home.run / "left-over.pid"
        identity = identify(stranger.pid)
        assert identity is not None
        file.write_text(file.read_text().replace(str(identity.started), str(identity.started - 1)))
        PidFiles(home.run).end_leftovers(print)
        assert stranger.poll() is None
        stranger.kill()
    assert not file.exists()


def test_a_port_in_use_is_named_with_the_settings_that_move_it(home: Home) -> None:
    offset = free_offset()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", DEFAULT_PORTS["kafka_port"] + offset))
        taken.listen()
        with mille_run(home, PLATFORM_ONLY, environment={"MILLE_PORT_OFFSET": str(offset)}) as running:
            assert running.process.wait(30) == 1
    assert f"port {9092 + offset} (KAFKA_PORT) on 127.0.0.1 is in use" in running.output_text()
    assert "MILLE_PORT_OFFSET" in running.output_text()


def test_two_copies_run_side_by_side_and_a_third_in_the_same_home_is_refused(home: Home) -> None:
    with mille_run(home, PLATFORM_ONLY) as first, temporary_home() as other:
        with mille_run(other, PLATFORM_ONLY) as second:
            addresses = {running.wait_until_up()["kafka"] for running in (first, second)}
            assert len(addresses) == 2
            with mille_run(home, PLATFORM_ONLY) as third:
                assert third.process.wait(30) == 1
            assert "is up in" in third.output_text()
        assert first.process.poll() is None


@pytest.fixture(scope="module")
def killable() -> Iterator[MilleRun]:
    with temporary_home() as home, mille_run(home, PLATFORM_ONLY) as running:
        running.wait_until_up()
        yield running


PROBES: dict[str, Callable[[Endpoints], Awaitable[bool]]] = {
    "kafka": lambda at: kafka.answers(at["kafka"]),
    "postgres": lambda at: postgres.answers(at["databases"]["petitions"]),
    "mailbox": lambda at: kafka.listens(at["smtp"]),
}


@pytest.mark.parametrize("name", PROBES)
def test_a_killed_program_is_started_again(name: str, killable: MilleRun) -> None:
    before = pids_of(killable)[name]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: pids_of(killable)[name] not in (0, before), f"{name} is started again")
    wait_for(lambda: asyncio.run(answers(name, killable)), f"{name} answers")


async def answers(name: str, running: MilleRun) -> bool:
    return await PROBES[name](running.endpoints())


async def test_a_service_role_gets_into_its_own_database_alone(killable: MilleRun) -> None:
    urls = killable.endpoints()["databases"]
    assert await fetch_value(urls["petitions"], "SELECT current_database()") == "petitions"
    for other in ("letters", "postgres"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch_value(urls["petitions"].removesuffix("/petitions") + f"/{other}", "SELECT 1")


async def test_the_server_writes_through_to_disk_and_logs_no_rows(killable: MilleRun) -> None:
    url = killable.endpoints()["administrator"]
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert await fetch_value(url, f"SHOW {setting}") == "on"
    assert await fetch_value(url, "SHOW log_error_verbosity") == "terse"


def test_keys_and_passwords_are_for_their_owner_alone(killable: MilleRun) -> None:
    home = killable.home
    for path in (*(home.keys / name for name in keys.NAMES), home.passwords, home.endpoints):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_open_files_limit_is_raised_to_the_hard_limit(killable: MilleRun) -> None:
    limits = Path(f"/proc/{pids_of(killable)['kafka']}/limits").read_text()
    [line] = [line for line in limits.splitlines() if line.startswith("Max open files")]
    soft, hard = line.split()[3:5]
    assert soft == hard


def test_it_starts_as_an_ordinary_user() -> None:
    with (
        temporary_home() as home,
        unprivileged_user(home.root.parent) as user,
        mille_run(home, PLATFORM_ONLY, user=user) as running,
    ):
        running.wait_until_up()
        owner = Path(f"/proc/{pids_of(running)['postgres']}").stat().st_uid
        assert owner == home.root.stat().st_uid != 0
        assert running.stop() == 0


def test_it_starts_in_a_folder_that_only_its_owner_can_enter() -> None:
    with temporary_home() as home:
        home.root.parent.chmod(0o700)
        with mille_run(home, PLATFORM_ONLY) as running:
            running.wait_until_up()
            assert (home.state / "postgres").exists() == (os.geteuid() == 0)
            assert running.stop() == 0
        remove(home)
        assert not home.state.exists()

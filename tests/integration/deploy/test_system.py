from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx

from deploy.local.endpoints import RunningProcess, probe_port
from deploy.local.home import PROJECT
from deploy.local.pids import identify
from deploy.local.processes import ready
from deploy.local.settings import DEFAULT_PORTS
from tests.support.commands import mille
from tests.support.running import MilleRun, mille_run, temporary_home
from tests.support.waiting import wait_for

START_SECONDS = 15.0
"""The time limit of a start after the first one, on two otherwise idle cores."""
ROLES = {
    ("marathon", "all"),
    ("petitions", "intake"),
    ("petitions", "counter"),
    ("letters", "intake"),
    ("letters", "counter"),
    ("notifications", "all"),
}


def get(address: str) -> int:
    return httpx.get(address, timeout=10).status_code


def doctor(running: MilleRun) -> subprocess.CompletedProcess[str]:
    offset = int(running.endpoints()["smtp"].rpartition(":")[2]) - DEFAULT_PORTS["smtp_port"]
    return subprocess.run(
        [sys.executable, "-m", "deploy.mille", "doctor"],
        env={**os.environ, "MILLE_HOME": str(running.home.root), "MILLE_PORT_OFFSET": str(offset)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_says_where_everything_is(system: MilleRun) -> None:
    at = json.loads(system.home.endpoints.read_text())
    assert stat.S_IMODE(system.home.endpoints.stat().st_mode) == 0o600
    assert {(process["service"], process["role"]) for process in at["processes"]} == ROLES
    assert set(at["databases"]) == {"petitions", "letters", "notifications", "marathon"}
    assert all(Path(at[folder]).is_dir() for folder in ("mailbox", "logs", "kafka_data"))
    assert all(identify(process["pid"]) for process in at["processes"])
    for address in (at["marathon"], *(process["metrics"] for process in at["processes"])):
        assert get(address) == 200


def test_the_doctor_finds_nothing_to_mend(system: MilleRun) -> None:
    result = doctor(system)
    assert result.returncode == 0, result.stdout
    assert len(re.findall("^ok ", result.stdout, re.MULTILINE)) >= 20


def test_no_log_of_a_healthy_start_holds_an_error(system: MilleRun) -> None:
    for path in Path(system.endpoints()["logs"]).glob("*-*.log"):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
        assert lines, path.name
        assert not [line for line in lines if line["level"] in ("error", "critical")], path.name


def test_killed_services_are_started_again(system: MilleRun) -> None:
    before = {process["metrics"]: process["pid"] for process in system.endpoints()["processes"]}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: all(again(process, before[process["metrics"]]) for process in system.endpoints()["processes"]),
        "the start of other processes",
        90,
    )


def again(process: RunningProcess, pid_before: int) -> bool:
    """Whether another process than before answers its readiness probe."""
    return process["pid"] not in (0, pid_before) and asyncio.run(ready(probe_port(process)))


def test_a_restart_ends_the_processes_of_one_service_and_returns_once_others_are_ready(system: MilleRun) -> None:
    before = {process["metrics"]: process for process in system.endpoints()["processes"]}
    result = mille(system.home.root, "restart", "petitions")
    assert result.code == 0, result.output
    assert [line.partition(" is ready again after")[0] for line in result.output.splitlines()] == [
        "petitions intake",
        "petitions counter",
    ]
    for process in system.endpoints()["processes"]:
        pid = before[process["metrics"]]["pid"]
        assert again(process, pid) if process["service"] == "petitions" else process["pid"] == pid
    assert "petitions-counter ended (exit code 0)" in system.output_text()
    unknown = mille(system.home.root, "restart", "nope")
    assert (unknown.code, unknown.output) == (
        1,
        "mille restart: there is no service nope here; there is marathon, petitions, letters, notifications\n",
    )


def test_what_no_run_keeps_up_cannot_be_restarted(system: MilleRun, tmp_path: Path) -> None:
    shutil.copy(system.home.endpoints, tmp_path)
    result = mille(tmp_path, "restart", "petitions")
    assert (result.code, "docker compose restart petitions" in result.output) == (1, True)


def test_a_later_start_is_quick_and_a_stop_leaves_nothing() -> None:
    with temporary_home() as home:
        with mille_run(home) as first:
            first.wait_until_up()
        started = time.monotonic()
        with mille_run(home) as second:
            at = second.wait_until_up()
            seconds = time.monotonic() - started
            assert second.stop(signal.SIGINT) == 0
        pids = [*at["platform"].values(), *(process["pid"] for process in at["processes"])]
        assert not [pid for pid in pids if identify(pid)]
        assert seconds < START_SECONDS * busy_factor(), second.output_text()


def busy_factor() -> float:
    """Return the factor by which other load slows us: the runnable processes per core, at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def test_what_runs_is_what_the_settings_ask_for() -> None:
    settings = {"PETITIONS_INTAKES": "2", "PETITIONS_COUNTERS": "2", "KAFKA_FLUSH": "off"}
    with temporary_home() as home, mille_run(home, "--no-mail", environment=settings) as running:
        at = running.wait_until_up()
        roles = [(process["service"], process["role"]) for process in at["processes"]]
        assert roles.count(("petitions", "intake")) == roles.count(("petitions", "counter")) == 2
        assert {service for service, _ in roles} == {"marathon", "petitions", "letters"}
        assert len({process["metrics"] for process in at["processes"]}) == len(roles)
        assert set(at["platform"]) == {"kafka", "postgres"}


def test_an_outside_broker_and_server_are_used_instead_of_our_own(system: MilleRun) -> None:
    at = system.endpoints()
    with temporary_home() as home:
        home.make()
        home.passwords.write_bytes(system.home.passwords.read_bytes())
        outside = {"KAFKA_BOOTSTRAP_SERVERS": at["kafka"], "DATABASE_URL": at["administrator"]}
        with mille_run(home, "--platform-only", environment=outside) as running:
            seen = running.wait_until_up()
            assert set(seen["platform"]) == {"mailbox"}
            assert (seen["kafka"], seen["kafka_data"]) == (at["kafka"], None)
            assert seen["databases"] == at["databases"]

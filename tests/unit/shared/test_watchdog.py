"""The watchdog ends a process whose event loop is blocked, and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from deploy.local.home import PROJECT
from shared.tasks import FAILED_TASK_EXIT
from shared.watchdog import watch_event_loop
from tests.support.waiting import stays

BLOCKED = """
import asyncio, sys, time
from shared.watchdog import watch_event_loop

async def main(blocked):
    with watch_event_loop(stall_timeout_s=1.0, check_interval_s=0.1):
        print("watched", flush=True)
        time.sleep(60) if blocked else await asyncio.sleep(3)

asyncio.run(main(sys.argv[1] == "blocked"))
"""


def test_a_process_whose_loop_is_blocked_ends_with_the_status_of_a_failed_task() -> None:
    started = time.monotonic()
    completed = subprocess.run([sys.executable, "-c", BLOCKED, "blocked"], cwd=PROJECT, timeout=30, check=False)
    assert completed.returncode == FAILED_TASK_EXIT
    assert time.monotonic() - started < 20


def test_a_process_that_was_stopped_for_longer_and_goes_on_lives() -> None:
    process = subprocess.Popen([sys.executable, "-c", BLOCKED, "turning"], cwd=PROJECT, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"watched\n"
        os.kill(process.pid, signal.SIGSTOP)
        threading.Timer(1.5, os.kill, (process.pid, signal.SIGCONT)).start()
        assert process.wait(30) == 0


async def test_a_loop_that_turns_is_left_alone_and_one_that_stands_still_is_noticed() -> None:
    ended = threading.Event()
    with watch_event_loop(stall_timeout_s=0.3, check_interval_s=0.02, on_stall=ended.set):
        await stays(lambda: not ended.is_set(), 0.6)
        assert ended.wait(5)

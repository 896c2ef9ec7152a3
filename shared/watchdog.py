"""A watchdog that ends a process whose event loop is blocked, since such a process does none of its work."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from shared.logging import log
from shared.tasks import FAILED_TASK_EXIT

CHECK_INTERVAL_S: Final = 1.0
STALL_TIMEOUT_S: Final = 20.0
"""The process ends after so long without a turn of the loop. No callback of ours takes as much as a second."""


def _end_process() -> None:
    os._exit(FAILED_TASK_EXIT)


@contextmanager
def watch_event_loop(
    *,
    stall_timeout_s: float = STALL_TIMEOUT_S,
    check_interval_s: float = CHECK_INTERVAL_S,
    on_stall: Callable[[], None] = _end_process,
) -> Iterator[None]:
    """Call `on_stall` once the running event loop has not turned for `stall_timeout_s` seconds.

    A thread counts its checks instead of reading a clock, so that a process that was suspended and resumed survives.
    """
    watchdog = _Watchdog(
        asyncio.get_running_loop(), round(stall_timeout_s / check_interval_s), check_interval_s, on_stall
    )
    thread = threading.Thread(target=watchdog.run, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watchdog.stopped.set()
        thread.join(check_interval_s)


class _Watchdog:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, max_missed: int, check_interval_s: float, on_stall: Callable[[], None]
    ) -> None:
        self.stopped = threading.Event()
        self._loop = loop
        self._max_missed = max_missed
        self._check_interval_s = check_interval_s
        self._on_stall = on_stall
        self._turned = True

    def run(self) -> None:
        missed = 0
        while not self.stopped.wait(self._check_interval_s):
            missed = 0 if self._turned else missed + 1
            if missed >= self._max_missed:
                log.critical("the event loop stands still", seconds=missed * self._check_interval_s)
                self._on_stall()
                return
            if missed == 0:
                self._turned = False
                self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        self._turned = True

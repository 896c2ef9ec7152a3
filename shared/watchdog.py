"""Ends a process whose event loop no longer turns: whatever blocks it, nothing that the process promises is done."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from shared.logging import log
from shared.tasks import FAILED_TASK_EXIT

LOOK_S: Final = 1.0
STILL_S: Final = 20.0
"""So long without a turn of the loop, and the process ends. No honest work of ours takes a second."""


def _end_process() -> None:
    os._exit(FAILED_TASK_EXIT)


@contextmanager
def watched(
    *, still_s: float = STILL_S, look_s: float = LOOK_S, end: Callable[[], None] = _end_process
) -> Iterator[None]:
    """Inside, `end` is called once the running event loop has not turned for `still_s` seconds.

    Time is counted in looks of a thread, so that a process that was stopped as a whole and goes on is not ended for it.
    """
    watch = _Watch(asyncio.get_running_loop(), round(still_s / look_s), look_s, end)
    thread = threading.Thread(target=watch.run, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.over.set()
        thread.join(look_s)


class _Watch:
    def __init__(self, loop: asyncio.AbstractEventLoop, patience: int, look_s: float, end: Callable[[], None]) -> None:
        self.over = threading.Event()
        self._loop = loop
        self._patience = patience
        self._look_s = look_s
        self._end = end
        self._turned = True

    def run(self) -> None:
        looks = 0
        while not self.over.wait(self._look_s):
            looks = 0 if self._turned else looks + 1
            if looks >= self._patience:
                log.critical("the event loop stands still", seconds=looks * self._look_s)
                self._end()
                return
            if looks == 0:
                self._turned = False
                self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        self._turned = True

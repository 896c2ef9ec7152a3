"""Background tasks under supervision: one that ends when it should not ends the process, loudly."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from shared.logging import log

FAILED_TASK_EXIT: Final = 70
"""Exit status after a background task died: EX_SOFTWARE of sysexits.h. The supervisor starts the process again."""

FIRST_PAUSE_S: Final = 0.3
LONGEST_PAUSE_S: Final = 5.0
LASTED_S: Final = 60.0
"""An attempt that lasted so long had got somewhere."""


def _end_process(_name: str) -> None:
    os._exit(FAILED_TASK_EXIT)


def raise_if_cancelled() -> None:
    """End a task that was cancelled although it still runs.

    A clean-up that fails while the cancellation passes through it (the release of a broken connection) raises in its
    place; whoever retries after such errors asks here first.

    Raises:
        asyncio.CancelledError: the current task was cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def wait_out(
    attempt: Callable[[], Awaitable[None]], outages: tuple[type[Exception], ...], note: Callable[[Exception], None]
) -> None:
    """Do `attempt` until it returns, however long it fails with one of `outages`, of which `note` is told.

    The longer that lasts the longer apart, up to five seconds; after an attempt that lasted a minute as at first.

    Raises:
        Exception: what `attempt` raises beside `outages`.
    """
    pause = FIRST_PAUSE_S
    while True:
        began = time.monotonic()
        try:
            await attempt()
        except outages as error:
            raise_if_cancelled()
            note(error)
            await asyncio.sleep(pause)
            pause = FIRST_PAUSE_S if time.monotonic() - began > LASTED_S else min(pause * 2, LONGEST_PAUSE_S)
        else:
            return


class Tasks:
    """Background tasks of one process; `async with Tasks() as tasks` cancels and awaits them at the end.

    `on_failure` is called with the name of a task that raised or returned; by default the process ends at once,
    because whatever it was doing is no longer being done.
    """

    def __init__(self, on_failure: Callable[[str], None] = _end_process) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run `run()` until this object closes."""
        self._tasks.add(asyncio.create_task(self._watch(name, run), name=name))

    async def _watch(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        except asyncio.CancelledError:
            if self._closing:
                raise
            log.error("background task was cancelled", task=name)
        except Exception:  # noqa: BLE001  whatever it was, the process ends
            log.exception("background task failed", task=name)
        else:
            log.error("background task ended", task=name)
        if not self._closing:
            self._on_failure(name)

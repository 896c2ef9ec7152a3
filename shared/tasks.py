"""Supervised background tasks: one that ends unexpectedly ends the process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from shared.logging import log

FAILED_TASK_EXIT: Final = 70
"""Exit status after a background task died: EX_SOFTWARE of sysexits.h. The supervisor starts the process again."""


def _end_process(_name: str) -> None:
    os._exit(FAILED_TASK_EXIT)


def raise_if_cancelled() -> None:
    """Raise where the current task was cancelled and still runs.

    A clean-up that fails during a cancellation (the release of a broken connection) raises its own error instead of
    the cancellation; code that retries after such errors calls this first.

    Raises:
        asyncio.CancelledError: the current task was cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Tasks:
    """Background tasks of one process; `async with Tasks() as tasks` cancels and awaits them at the end.

    `on_failure` is called with the name of a task that raised or returned; by default the process ends at once,
    because the work of that task is no longer done.
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
        except Exception:  # noqa: BLE001  the process ends after any error
            log.exception("background task failed", task=name)
        else:
            log.error("background task ended", task=name)
        if not self._closing:
            self._on_failure(name)

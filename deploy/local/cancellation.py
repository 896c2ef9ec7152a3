"""Cancel work early: on a signal, or because other work has ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable


def stop_on_signals(on_repeat: Callable[[], None]) -> asyncio.Event:
    """Return an event that the first SIGINT, SIGTERM or SIGHUP sets; each later one calls `on_repeat`."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            on_repeat()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup a hang-up stays ignored.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop


async def run_until_first_ends(*awaitables: Awaitable[object]) -> None:
    """Run `awaitables` until the first one ends or fails, and cancel the others."""
    await _run(awaitables, asyncio.FIRST_COMPLETED)


async def run_all(*awaitables: Awaitable[object]) -> None:
    """Run all `awaitables` concurrently; the first error cancels the others."""
    if awaitables:
        await _run(awaitables, asyncio.FIRST_EXCEPTION)


async def _run(awaitables: Iterable[Awaitable[object]], return_when: str) -> None:
    tasks = [asyncio.ensure_future(work) for work in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=return_when)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""Work that ends early: because a signal asks for it, or because other work has ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable


def on_signals(again: Callable[[], None]) -> asyncio.Event:
    """An event that the first SIGINT, SIGTERM or SIGHUP sets; from the second one on, `again` is called."""
    stop = asyncio.Event()

    def asked() -> None:
        if stop.is_set():
            again()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup a hang-up stays ignored.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, asked)
    return stop


async def first_of(*works: Awaitable[object]) -> None:
    """Wait until the first of `works` ends, by itself or with its error, and give the others up."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def together(*works: Awaitable[object]) -> None:
    """Do all of `works` side by side; the first error ends it and gives the others up."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

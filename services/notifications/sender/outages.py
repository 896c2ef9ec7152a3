"""Repeats background work, and waits out outages of PostgreSQL for a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from shared.logging import log
from shared.outages import OUTAGES, Backoff

MAX_OUTAGE_S: Final = 600.0
MIN_PAUSE_S: Final = 0.2


async def run_repeatedly(
    name: str, step: Callable[[], Awaitable[bool]], idle_s: float, wake_event: asyncio.Event | None = None
) -> None:
    """Call `step` again and again. After one that returns False, because it found nothing to do, the next comes after
    `idle_s` seconds or when `wake_event` is set.

    Raises:
        TransientError: no step succeeded for ten minutes.
    """
    wake_event = wake_event or asyncio.Event()
    backoff = Backoff(f"{name} could not go on", min_pause_s=MIN_PAUSE_S, give_up_s=MAX_OUTAGE_S)
    while True:
        wake_event.clear()
        try:
            busy = await step()
        except OUTAGES as error:
            log.warning("interrupted, trying again", work=name, failure=type(error).__name__)
            await backoff.pause(error)
            continue
        backoff.reset()
        if busy:
            await asyncio.sleep(0)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(wake_event.wait(), idle_s)

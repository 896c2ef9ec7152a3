"""Repeats background work, and waits out outages of PostgreSQL for a limited time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import asyncpg

from shared.errors import TransientError
from shared.logging import log

OUTAGE_ERRORS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
MAX_OUTAGE_S: Final = 600.0
FIRST_PAUSE_S: Final = 0.2
MAX_PAUSE_S: Final = 5.0


async def run_repeatedly(
    name: str, step: Callable[[], Awaitable[bool]], wake_event: asyncio.Event | None, idle_s: float
) -> None:
    """Call `step` again and again. After one that returns False, because it found nothing to do, the next comes after
    `idle_s` seconds or when `wake_event` is set.

    Raises:
        TransientError: no step succeeded for ten minutes.
    """
    last_success, pause = time.monotonic(), FIRST_PAUSE_S
    while True:
        if wake_event is not None:
            wake_event.clear()
        try:
            busy = await step()
        except OUTAGE_ERRORS as error:
            log.warning("interrupted, trying again", work=name, failure=type(error).__name__)
            if time.monotonic() - last_success > MAX_OUTAGE_S:
                raise TransientError(f"{name} could not go on for ten minutes") from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_S)
            continue
        last_success, pause = time.monotonic(), FIRST_PAUSE_S
        if busy:
            await asyncio.sleep(0)
        elif wake_event is None:
            await asyncio.sleep(idle_s)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(wake_event.wait(), idle_s)

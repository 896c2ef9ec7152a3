"""Work that goes on for ever and waits out an outage of PostgreSQL, but not for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import asyncpg

from shared.errors import TransientError
from shared.logging import log

OUTAGES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
GIVE_UP_S: Final = 600.0
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0


async def again_and_again(
    name: str, turn: Callable[[], Awaitable[bool]], awake: asyncio.Event | None, idle_s: float
) -> None:
    """Take one `turn` after the other. One that returns False found nothing to do: the next comes after `idle_s`
    seconds, or when `awake` is set.

    Raises:
        TransientError: no turn could be taken for ten minutes.
    """
    last_good, pause = time.monotonic(), FIRST_PAUSE_S
    while True:
        if awake is not None:
            awake.clear()
        try:
            busy = await turn()
        except OUTAGES as error:
            log.warning("interrupted, trying again", work=name, failure=type(error).__name__)
            if time.monotonic() - last_good > GIVE_UP_S:
                raise TransientError(f"{name} could not go on for ten minutes") from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            continue
        last_good, pause = time.monotonic(), FIRST_PAUSE_S
        if busy:
            await asyncio.sleep(0)
        elif awake is None:
            await asyncio.sleep(idle_s)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(awake.wait(), idle_s)

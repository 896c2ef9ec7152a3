"""A million single posts accepted, counted and on the board."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Final

from tests.bench.rows import posts
from tests.bench.rows.posts import exact
from tests.bench.stand import Stand

MILLION: Final = 1_000_000
CONNECTIONS: Final = 256
LIMIT_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class MillionResult:
    """One run: seconds from the first post until the board shows everybody."""

    seconds: float
    exact: bool


async def measure(stand: Stand) -> MillionResult:
    """Post until a million records stand on the topic, then wait for the board."""
    before, appended = await stand.tally_snapshot(), await stand.appended()
    load = posts.load(stand, connections=CONNECTIONS, seconds=LIMIT_SECONDS)
    shown: list[tuple[float, int]] = []
    began = time.monotonic()
    seen = await load.run_until(partial(stand.holds, appended + MILLION))
    following = asyncio.create_task(stand.follow_board(shown))
    try:
        await stand.drain()
        after = await stand.tally_snapshot()
        shown.append((time.monotonic(), after.board))
    finally:
        following.cancel()
    seconds = next((at for at, total in shown if total == after.rows), inf) - began
    taken = await stand.appended() - appended
    agrees = exact(seen, before, after, taken, open_at_end=CONNECTIONS)
    return MillionResult(seconds, seen.clean and taken >= MILLION and agrees)

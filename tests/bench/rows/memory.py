"""Resident memory of each process at rest, under load, and after millions of actions: it must not grow with them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

from tests.bench.figures import Figures
from tests.bench.rows import batches, posts
from tests.bench.turn import CONNECTIONS, Turn

ACTIONS: Final = 5_000_000
BATCH: Final = 1_000
LIMIT_SECONDS: Final = 300.0
LOAD_SECONDS: Final = 8.0
SETTLE_SECONDS: Final = 6.0


async def measure(turn: Turn) -> Figures:
    """Read, load, read, add what is missing to five million actions on the topic, read."""
    stand = turn.ours
    turn.say("Memory under load, and after five million actions")
    loaded = asyncio.create_task(posts.load(stand, connections=CONNECTIONS, seconds=LOAD_SECONDS).run())
    await asyncio.wait((loaded,), timeout=SETTLE_SECONDS)
    under_load = stand.memory()
    await loaded
    if not await stand.holds(ACTIONS):
        load = batches.load(stand, size=BATCH, seconds=LIMIT_SECONDS)
        await load.run_until(partial(stand.holds, ACTIONS))
    await stand.drain()
    after = stand.memory()
    return {
        **_named("", after),
        **_named("_at_rest", stand.memory_at_rest),
        **_named("_under_load", under_load),
        "memory.actions": float(await stand.appended()),
        "memory.exact": (await stand.tally_snapshot()).agree,
    }


def _named(when: str, found: Mapping[str, float]) -> Figures:
    return {f"memory.{name}{when}_mb": value for name, value in found.items()}

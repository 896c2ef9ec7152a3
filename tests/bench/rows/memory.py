"""Resident memory of intake and counter after millions of actions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.bench.processes import resident_mb
from tests.bench.rows import batches
from tests.bench.stand import Stand

ACTIONS: Final = 5_000_000
BATCH: Final = 100
LIMIT_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB of the largest process of each role, after `actions` actions."""

    intake_mb: float
    counter_mb: float
    actions: int


async def measure(stand: Stand) -> Memory:
    """Add what is missing to five million actions on the topic, then read."""
    if not await stand.holds(ACTIONS):
        load = batches.load(stand, size=BATCH, seconds=LIMIT_SECONDS)
        await load.run_until(partial(stand.holds, ACTIONS))
    await stand.drained()
    return Memory(_largest(stand, "intake"), _largest(stand, "counter"), await stand.appended())


def _largest(stand: Stand, role: str) -> float:
    return max(resident_mb(pid) for pid in stand.pids("petitions", role))

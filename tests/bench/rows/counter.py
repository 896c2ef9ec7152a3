"""The counter alone: a topic that was filled while it stood still."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.bench.rows import batches
from tests.bench.stand import Stand, StandError

BATCH: Final = 1000
LOAD_SECONDS: Final = 300.0
WAKE_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Counted:
    """One run: records a second from the first move of the stored position to the last."""

    rows_per_s: float
    cpu_us: dict[str, float]
    records: int
    exact: bool


async def measure(stand: Stand, *, records: int) -> Counted:
    """Put at least `records` records on the topic while the counters stand still, then let them go.

    The clock runs from the position's first move, so that joining the group again is no part of the figure.
    """
    counters = stand.pids("petitions", "counter")
    for pid in counters:
        os.kill(pid, signal.SIGSTOP)
    try:
        start = await stand.counted()
        await _fill(stand, await stand.appended() + records)
    finally:
        for pid in counters:
            os.kill(pid, signal.SIGCONT)
    cpu = stand.cpu()
    first, began = await _first_move(stand, start)
    seconds = time.monotonic() - began + await stand.drained()
    used = {name: value - cpu.get(name, 0.0) for name, value in stand.cpu().items()}
    end = await stand.counted()
    return Counted(
        rows_per_s=(end - first) / seconds,
        cpu_us={name: value / (end - start) * 1e6 for name, value in used.items()},
        records=end - start,
        exact=(await stand.tallied()).agree,
    )


async def _fill(stand: Stand, until: int) -> None:
    load = batches.load(stand, size=BATCH, seconds=LOAD_SECONDS)
    seen = await load.run_until(partial(stand.holds, until))
    if not seen.clean:
        raise StandError("the intake refused batches while the counters stood still")


async def _first_move(stand: Stand, start: int) -> tuple[int, float]:
    """The position after its first move, and when that was seen."""
    deadline = time.monotonic() + WAKE_SECONDS
    while True:
        position = await stand.counted()
        if position > start:
            return position, time.monotonic()
        if time.monotonic() > deadline:
            raise StandError("the counters did not go on")
        await asyncio.sleep(POLL_SECONDS)

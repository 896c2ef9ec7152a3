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
from tests.bench.rows.posts import per_action
from tests.bench.stand import Stand, StandError, TallySnapshot

BATCH: Final = 1000
LOAD_SECONDS: Final = 300.0
WAKE_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class CounterResult:
    """One run: records a second from the moment at which every partition had moved to the last record.

    `cpu_us` is CPU microseconds for each record by part of the system, `wal_bytes` what PostgreSQL wrote to its log.
    """

    rows_per_s: float
    cpu_us: dict[str, float]
    wal_bytes: float
    records: int
    exact: bool

    @property
    def cost_us(self) -> float:
        """What counting costs: the counter's CPU and PostgreSQL's."""
        return self.cpu_us["counter"] + self.cpu_us["postgres"]


async def measure(stand: Stand, *, records: int) -> CounterResult:
    """Put at least `records` records on the topic while the counters stand still, then let them go.

    The clock runs from the moment at which every partition has moved: joining the group anew is no part of the figure.
    """
    before = await _settled(stand)
    counters = stand.pids("petitions", "counter")
    for pid in counters:
        os.kill(pid, signal.SIGSTOP)
    try:
        start = await stand.positions()
        people = await _fill(stand, await stand.appended() + records)
    finally:
        for pid in counters:
            os.kill(pid, signal.SIGCONT)
    costs, wal = stand.costs(), await stand.wal_bytes()
    first, began = await _all_moved(stand, start)
    seconds = time.monotonic() - began + await stand.drain()
    used, wal = stand.costs().used(costs), await stand.wal_bytes() - wal
    counted = await stand.counted() - sum(start.values())
    after = await _settled(stand)
    open_at_end = BATCH * batches.CONNECTIONS
    return CounterResult(
        rows_per_s=(counted - (first - sum(start.values()))) / seconds,
        cpu_us=per_action(used, counted),
        wal_bytes=wal / counted,
        records=counted,
        exact=_moved_alike(before, after) and people - open_at_end <= after.rows - before.rows <= people,
    )


async def _settled(stand: Stand) -> TallySnapshot:
    """What rows, ledger and board say once the board shows what the ledger has. Rows may have been emptied before."""
    ledger = await stand.ledger_total()
    return TallySnapshot(await stand.rows(), ledger, await stand.board_shows(ledger))


def _moved_alike(before: TallySnapshot, after: TallySnapshot) -> bool:
    return after.rows - before.rows == after.cells - before.cells == after.board - before.board


async def _fill(stand: Stand, until: int) -> int:
    """Fill the topic; how many different people were sent."""
    load = batches.load(stand, size=BATCH, seconds=LOAD_SECONDS)
    seen = await load.run_until(partial(stand.holds, until))
    if not seen.clean:
        raise StandError("the intake refused batches while the counters stood still")
    return seen.people


async def _all_moved(stand: Stand, start: dict[int, int]) -> tuple[int, float]:
    """How many records are counted when every partition has moved, and when that was seen."""
    deadline = time.monotonic() + WAKE_SECONDS
    while True:
        positions = await stand.positions()
        if all(positions[partition] > stood for partition, stood in start.items()):
            return sum(positions.values()), time.monotonic()
        if time.monotonic() > deadline:
            raise StandError("the counters did not go on")
        await asyncio.sleep(POLL_SECONDS)

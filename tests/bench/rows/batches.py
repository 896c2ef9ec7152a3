"""Batches as a partner sends them: from the first post to the last row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.bench.load import Load, host_of
from tests.bench.rows.posts import GENERATOR, exact, per_action
from tests.bench.stand import Stand

SCRIPT: Final = "batches.lua"
CONNECTIONS: Final = 16


@dataclass(frozen=True, slots=True)
class BatchesResult:
    """One run. `counted_per_s` is over the time from the first post to the last row."""

    accepted_per_s: float
    counted_per_s: float
    p99_ms: float
    drain_s: float
    cpu_us: dict[str, float]
    actions: int
    exact: bool


def load(stand: Stand, *, size: int, seconds: float) -> Load:
    """The load of batches of `size` items, all confirmed by the partner."""
    url = stand.at["petitions"]
    arguments = (stand.petition, stand.new_tag(), host_of(url), stand.api_key, str(size), stand.began)
    return Load(stand.wrk, url, SCRIPT, arguments, connections=CONNECTIONS, seconds=seconds)


async def measure(stand: Stand, *, size: int, seconds: float) -> BatchesResult:
    """Load the intake with batches for `seconds`, then wait until everything is counted and on the board."""
    before, appended = await stand.tally_snapshot(), await stand.appended()
    start = stand.costs()
    seen = await load(stand, size=size, seconds=seconds).run()
    drain_s = await stand.drain()
    used = stand.costs().used(start) | {GENERATOR: seen.cpu_s}
    taken = await stand.appended() - appended
    after = await stand.tally_snapshot()
    return BatchesResult(
        accepted_per_s=seen.answered * size / seen.seconds,
        counted_per_s=taken / (seen.seconds + drain_s),
        p99_ms=seen.p99_ms,
        drain_s=drain_s,
        cpu_us=per_action(used, taken),
        actions=taken,
        exact=seen.clean and exact(seen, before, after, taken, open_at_end=CONNECTIONS, actions=size),
    )

"""A real spike: the steepest ten minutes of an arrival curve, a minute in six seconds, at ten to a thousand times."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from tests.bench import arrivals
from tests.bench.figures import Figures
from tests.bench.load import LoadResult
from tests.bench.plots import Line, Panel, write
from tests.bench.rows import paced
from tests.bench.stand import Stand
from tests.bench.turn import Turn

TIMES: Final = (10, 100, 1000)
MINUTE_SECONDS: Final = 6.0
LAG_POLL_SECONDS: Final = 0.25
PLOT: Final = "bench-spike.svg"


@dataclass(slots=True)
class SpikeResult:
    """One run. Times are seconds since it began; `p99_ms` counts from when a person wanted to sign."""

    p99_ms: list[tuple[float, float]] = field(default_factory=list)
    lag: list[tuple[float, float]] = field(default_factory=list)
    seen: list[LoadResult] = field(default_factory=list)
    drain_s: float = 0.0
    exact: bool = False


async def measure(turn: Turn) -> Figures:
    """All three, a plot of lag and p99 over time, and the worst of each."""
    minutes = arrivals.steepest(arrivals.read())
    runs: dict[int, SpikeResult] = {}
    for times in TIMES:
        turn.say(f"The spike times {times:,}: {max(minutes) / 60 * times:,.0f} a second at most")
        runs[times] = await _run(turn.ours, [people / 60 * times for people in minutes])
    write(
        PLOT,
        "A real spike, ten minutes of it in sixty seconds",
        [
            Panel("p99 in ms, from when a person wanted to sign", _lines(runs, "p99_ms"), "seconds", logarithmic=True),
            Panel("taken and not yet counted", _lines(runs, "lag"), "seconds", logarithmic=True),
        ],
    )
    figures: Figures = {}
    for times, run in runs.items():
        figures |= _figures(f"spike.x{times}", run)
    return figures


async def _run(stand: Stand, rates: list[float]) -> SpikeResult:
    run = SpikeResult()
    before, appended = await stand.tally_snapshot(), await stand.appended()
    began = time.monotonic()
    watching = asyncio.create_task(_watch(stand, run, began))
    owed = 0
    try:
        for rate in rates:
            seen = await paced.load(stand, per_s=rate, seconds=MINUTE_SECONDS, owed=owed).run()
            owed = seen.owed
            run.seen.append(seen)
            run.p99_ms.append((time.monotonic() - began, seen.p99_ms + seen.late_p99_ms))
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    run.drain_s = await stand.drain()
    taken = await stand.appended() - appended
    run.exact = paced.exact(run.seen, before, await stand.tally_snapshot(), taken)
    return run


async def _watch(stand: Stand, run: SpikeResult, began: float) -> None:
    while True:
        counted = await stand.counted()
        lag = max(0, await stand.appended() - counted)
        run.lag.append((time.monotonic() - began, float(lag)))
        await asyncio.sleep(LAG_POLL_SECONDS)


def _figures(name: str, run: SpikeResult) -> Figures:
    seconds = sum(seen.seconds for seen in run.seen)
    return {
        f"{name}.accepted_per_s": sum(seen.answered for seen in run.seen) / seconds,
        f"{name}.refused": float(sum(seen.refused for seen in run.seen)),
        f"{name}.owed_at_end": float(run.seen[-1].owed),
        f"{name}.p99_ms": max(value for _, value in run.p99_ms),
        f"{name}.most_uncounted": max(value for _, value in run.lag),
        f"{name}.drain_s": run.drain_s,
        f"{name}.exact": run.exact,
    }


def _lines(runs: dict[int, SpikeResult], what: str) -> list[Line]:
    return [Line(f"times {times:,}", getattr(run, what)) for times, run in runs.items()]

"""Open boards: what thousands of streams cost marathon, and whether they slow down counting."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import httpx

from tests.bench.figures import ROUNDS, Figures, ratio
from tests.bench.load import Load, LoadResult, host_of
from tests.bench.rows import paced, posts
from tests.bench.stand import Stand, StandError
from tests.bench.turn import CONNECTIONS, Turn

MANY_STREAMS: Final = 5_000
FEW_STREAMS: Final = 1_000
SPARE_FILES: Final = 500
"""Open files that the process that holds the streams may need besides."""
POSTS_PER_S: Final = 2_000
WATCHED_SECONDS: Final = 20.0
COUNTED_SECONDS: Final = 10.0
OPEN_SECONDS: Final = 60.0
TIMEOUT_SECONDS: Final = 120.0
OPEN_STREAMS_METRIC: Final = "milleplumes_marathon_streams_open"
EVENT_PREFIX: Final = b"data: "


async def measure(turn: Turn) -> Figures:
    """Both: the share of a core that many streams take, and counting with some streams against counting without."""
    turn.say("Five thousand boards open, and posts going on")
    figures = await _shares(turn.ours)
    return figures | await _ratio(turn)


async def _shares(stand: Stand) -> Figures:
    """The CPU of marathon as a share of one core, with and without streams; posts go on at the same pace in both."""
    before = await stand.tally_snapshot()
    appended = await stand.appended()
    quiet, first, _ = await _watched(stand)
    async with open_streams(stand, MANY_STREAMS) as streams:
        share, second, updates = await _watched(stand)
        still = min(streams, await _open(stand))
    await stand.drain()
    taken = await stand.appended() - appended
    after = await stand.tally_snapshot()
    return {
        f"streams.{MANY_STREAMS}_cpu_share": share,
        "streams.0_cpu_share": quiet,
        f"streams.{MANY_STREAMS}_open": float(still),
        f"streams.{MANY_STREAMS}_updates_per_s": updates,
        f"streams.{MANY_STREAMS}_posts_per_s": second.answered / second.seconds,
        "streams.exact": second.clean and paced.exact([first, second], before, after, taken),
    }


async def _watched(stand: Stand) -> tuple[float, LoadResult, float]:
    """Marathon's share of a core, what the load saw, and the updates a second that one more board got, while posts go
    on.
    """
    seen = [0]
    watching = asyncio.create_task(_watch(stand, seen))
    try:
        costs, began, updates = stand.costs(), time.monotonic(), seen[0]
        load = await paced.load(stand, per_s=POSTS_PER_S, seconds=WATCHED_SECONDS).run()
        used, passed = stand.costs().used(costs), time.monotonic() - began
        return used["marathon"] / passed, load, (seen[0] - updates) / passed
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError, httpx.HTTPError):
            await watching


async def _watch(stand: Stand, seen: list[int]) -> None:
    async with stand.http.stream("GET", _board(stand), timeout=30.0) as answer:
        async for part in answer.aiter_bytes():
            seen[0] += part.count(EVENT_PREFIX)


async def _ratio(turn: Turn) -> Figures:
    """Counted a second beside some open streams, against without, turn by turn."""
    beside: list[float] = []
    alone: list[float] = []
    exact = True
    for number in range(ROUNDS):
        turn.say(f"Round {number + 1} of {ROUNDS}: single posts without and with a thousand open boards")
        run = await posts.measure(turn.ours, connections=CONNECTIONS, seconds=COUNTED_SECONDS)
        alone.append(run.counted_per_s)
        async with open_streams(turn.ours, FEW_STREAMS):
            with_streams = await posts.measure(turn.ours, connections=CONNECTIONS, seconds=COUNTED_SECONDS)
        beside.append(with_streams.counted_per_s)
        exact = exact and run.exact and with_streams.exact
        turn.say(f"  {alone[-1]:,.0f}/s without, {beside[-1]:,.0f}/s with them")
    return {f"streams.{FEW_STREAMS}_counted_ratio": ratio(beside, alone), f"streams.{FEW_STREAMS}_exact": exact}


@asynccontextmanager
async def open_streams(stand: Stand, wanted: int) -> AsyncIterator[int]:
    """Open `wanted` streams, or as many as this process may; gives how many are open.

    wrk holds them: it asks once on each connection, and reads an answer that does not end.

    Raises:
        StandError: they did not open.
    """
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(wanted, files - SPARE_FILES)
    url = _board(stand)
    load = Load(stand.wrk, url, "streams.lua", (host_of(url),), connections=count, seconds=TIMEOUT_SECONDS)
    done = asyncio.Event()

    async def ended() -> bool:
        return done.is_set()

    reading = asyncio.create_task(load.run_until(ended))
    try:
        await _until_open(stand, count)
        yield count
    finally:
        done.set()
        await reading


async def _until_open(stand: Stand, count: int) -> None:
    deadline = time.monotonic() + OPEN_SECONDS
    while (found := await _open(stand)) < count:
        if time.monotonic() > deadline:
            raise StandError(f"{found:,} of {count:,} streams are open")
        await asyncio.sleep(0.2)


async def _open(stand: Stand) -> int:
    for line in (await stand.metrics("marathon", "all")).splitlines():
        if line.startswith(f"{OPEN_STREAMS_METRIC} "):
            return int(float(line.split()[1]))
    return 0


def _board(stand: Stand) -> str:
    return f"{stand.at['marathon']}/v1/campaigns/{stand.campaign}/totals/live"

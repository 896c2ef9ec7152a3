"""The rows of single posts, with the rivals in the same minutes."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Final

from tests.bench.figures import ROUNDS, Figures, of_posts, ratio, run_three_times
from tests.bench.rivals import StreamingResult, Variant
from tests.bench.rows import posts
from tests.bench.rows.posts import PostsResult
from tests.bench.turn import CONNECTIONS, Turn

MANY_CONNECTIONS: Final = 1000


async def beside_both(turn: Turn) -> Figures:
    """`single`: one intake process, and both rivals, turn by turn."""
    runs: list[PostsResult] = []
    plain: list[float] = []
    streamed: list[StreamingResult] = []
    for number in range(ROUNDS):
        turn.say(f"Round {number + 1} of {ROUNDS}: single posts, FastAPI with asyncpg, FastStream as in its tutorial")
        runs.append(await _posts(turn, CONNECTIONS))
        plain.append(await _asyncpg(turn))
        streamed.append(await _faststream(turn, "tutorial"))
    counted = [run.counted_per_s for run in runs]
    return {
        **of_posts("single", runs),
        "fastapi_asyncpg.accepted_per_s": statistics.median(plain),
        **_of_streamed("tutorial", streamed),
        "single.vs_fastapi_asyncpg": ratio([run.accepted_per_s for run in runs], plain),
        "single.vs_faststream_tutorial": ratio(counted, [one.counted_per_s for one in streamed]),
    }


async def beside_other_faststreams(turn: Turn) -> Figures:
    """FastStream that loses no message, in one process with FastAPI, and without its log: each beside ours."""
    variants: tuple[Variant, ...] = ("acked", "one_process", "quiet")
    found: dict[Variant, list[StreamingResult]] = {variant: [] for variant in variants}
    counted: list[float] = []
    for number in range(ROUNDS):
        turn.say(f"Round {number + 1} of {ROUNDS}: FastStream with acknowledgements, in one process, without its log")
        counted.append((await _posts(turn, CONNECTIONS)).counted_per_s)
        for variant in variants:
            found[variant].append(await _faststream(turn, variant))
    figures: Figures = {}
    for variant in variants:
        theirs = [one.counted_per_s for one in found[variant]]
        figures |= _of_streamed(variant, found[variant])
        figures[f"single.vs_faststream_{variant}"] = ratio(counted, theirs)
    return figures


async def flushed(turn: Turn) -> Figures:
    """`flushed`: each batch on disk before its answer, beside FastAPI and asyncpg."""
    runs: list[PostsResult] = []
    plain: list[float] = []
    for number in range(ROUNDS):
        turn.say(f"Round {number + 1} of {ROUNDS}: each batch flushed to disk, and FastAPI with asyncpg")
        runs.append(await _posts(turn, CONNECTIONS))
        plain.append(await _asyncpg(turn))
    theirs = ratio([run.accepted_per_s for run in runs], plain)
    return of_posts("flushed", runs) | {"flushed.vs_fastapi_asyncpg": theirs}


async def with_two_intakes(turn: Turn) -> Figures:
    """`single2`: two intake processes on one port."""
    turn.say("Single posts to two intake processes")
    return of_posts("single2", await run_three_times(partial(_posts, turn, CONNECTIONS)))


async def over_many_connections(turn: Turn) -> Figures:
    """`single1000`: 1,000 connections."""
    turn.say("Single posts over 1,000 connections")
    return of_posts("single1000", await run_three_times(partial(_posts, turn, MANY_CONNECTIONS)))


async def flushed_over_many_connections(turn: Turn) -> Figures:
    """`flushed1000`: more requests share each flush."""
    turn.say("Each batch flushed to disk, over 1,000 connections")
    return of_posts("flushed1000", await run_three_times(partial(_posts, turn, MANY_CONNECTIONS)))


async def _posts(turn: Turn, connections: int) -> PostsResult:
    run = await posts.measure(turn.ours, connections=connections, seconds=turn.lengths.single)
    turn.say(f"  {run.accepted_per_s:,.0f}/s, p99 {run.p99_ms:.1f} ms, {'exact' if run.exact else 'NOT EXACT'}")
    return run


async def _asyncpg(turn: Turn) -> float:
    return await turn.theirs.asyncpg_per_s(turn.ours, connections=CONNECTIONS, seconds=turn.lengths.rival)


async def _faststream(turn: Turn, variant: Variant) -> StreamingResult:
    return await turn.theirs.faststream(turn.ours, variant, connections=CONNECTIONS, seconds=turn.lengths.streamed)


def _of_streamed(variant: Variant, runs: list[StreamingResult]) -> Figures:
    name = f"faststream_{variant}"
    return {
        f"{name}.accepted_per_s": statistics.median(one.accepted_per_s for one in runs),
        f"{name}.counted_per_s": statistics.median(one.counted_per_s for one in runs),
        f"{name}.drain_s": statistics.median(one.drain_s for one in runs),
    }

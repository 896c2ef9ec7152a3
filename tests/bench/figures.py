"""Figures by name, as build/bench.json has them: made of runs, the one with the median rate for each row."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from tests.bench.rows.batches import BatchesResult
from tests.bench.rows.posts import PostsResult

Figures = dict[str, float | bool]
Run = TypeVar("Run", PostsResult, BatchesResult)

ROUNDS: Final = 3


def all_exact(figures: Mapping[str, float | bool]) -> bool:
    """Whether every row was exact."""
    return all(value for name, value in figures.items() if name.endswith("exact"))


async def run_three_times(measure: Callable[[], Awaitable[Run]]) -> list[Run]:
    """The same measurement three times."""
    return [await measure() for _ in range(ROUNDS)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios taken in the same round."""
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


def median_run(runs: Sequence[Run]) -> Run:
    """The run with the median rate."""
    return sorted(runs, key=lambda run: run.accepted_per_s)[len(runs) // 2]


def of_posts(name: str, runs: Sequence[PostsResult]) -> Figures:
    """The figures of the run with the median rate; exact only if every run was."""
    run = median_run(runs)
    return {
        f"{name}.accepted_per_s": run.accepted_per_s,
        f"{name}.counted_per_s": run.counted_per_s,
        f"{name}.p50_ms": run.p50_ms,
        f"{name}.p99_ms": run.p99_ms,
        f"{name}.p999_ms": run.p999_ms,
        f"{name}.drain_s": run.drain_s,
        f"{name}.accept_to_count_p99_ms": run.accept_to_count_p99_ms,
        **costs(name, run.cpu_us),
        f"{name}.idle_share": run.shares.idle,
        f"{name}.softirq_share": run.shares.softirq,
        f"{name}.stolen_share": run.shares.stolen,
        f"{name}.unaccounted_share": run.shares.unaccounted,
        f"{name}.exact": all(one.exact for one in runs),
    }


def of_batches(name: str, runs: Sequence[BatchesResult]) -> Figures:
    """Likewise for batches."""
    run = median_run(runs)
    return {
        f"{name}.accepted_per_s": run.accepted_per_s,
        f"{name}.counted_per_s": run.counted_per_s,
        f"{name}.p99_ms": run.p99_ms,
        f"{name}.drain_s": run.drain_s,
        **costs(name, run.cpu_us),
        f"{name}.exact": all(one.exact for one in runs),
    }


def costs(name: str, cpu_us: Mapping[str, float]) -> Figures:
    """CPU microseconds for each action by part of the system."""
    return {f"{name}.{part}_us": value for part, value in cpu_us.items()}

"""Single posts through intake, broker and counter: what they cost, and whether the totals are exact."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from tests.bench.costs import Shares, shares
from tests.bench.histogram import buckets, quantile
from tests.bench.load import Load, LoadResult, host_of
from tests.bench.stand import Stand, TallySnapshot

SCRIPT: Final = "signatures.lua"
COUNTED_AFTER: Final = "milleplumes_accept_to_count_seconds"
"""The counter's histogram of the time from acceptance to count."""
GENERATOR: Final = "wrk"


@dataclass(frozen=True, slots=True)
class PostsResult:
    """One run.

    `cpu_us` is CPU microseconds for each action by part of the system, drained backlog included; the load generator and
    the bench are parts. `shares` is of the time while load was made.
    """

    accepted_per_s: float
    counted_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    drain_s: float
    accept_to_count_p99_ms: float
    cpu_us: dict[str, float]
    shares: Shares
    actions: int
    exact: bool


def load(stand: Stand, *, connections: int, seconds: float) -> Load:
    """The load of single posts of new people and some repeats."""
    url = stand.at["petitions"]
    arguments = (stand.petition, stand.new_tag(), host_of(url))
    return Load(stand.wrk, url, SCRIPT, arguments, connections=connections, seconds=seconds)


async def measure(stand: Stand, *, connections: int, seconds: float) -> PostsResult:
    """Load the intake for `seconds` over `connections`, then wait until everything is counted and on the board."""
    before, appended = await stand.tally_snapshot(), await stand.appended()
    histogram = buckets(await stand.metrics("petitions", "counter"), COUNTED_AFTER)
    start = stand.costs()
    seen = await load(stand, connections=connections, seconds=seconds).run()
    ended = time.monotonic()
    loaded = stand.costs()
    drain_s = time.monotonic() - ended + await stand.drain()
    used = stand.costs().used(start) | {GENERATOR: seen.cpu_s}
    delay = quantile(0.99, histogram, buckets(await stand.metrics("petitions", "counter"), COUNTED_AFTER))
    taken = await stand.appended() - appended
    after = await stand.tally_snapshot()
    return PostsResult(
        accepted_per_s=seen.answered / seen.seconds,
        counted_per_s=taken / (seen.seconds + drain_s),
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        p999_ms=seen.p999_ms,
        drain_s=drain_s,
        accept_to_count_p99_ms=delay * 1000,
        cpu_us=per_action(used, taken),
        shares=shares(start, loaded, seen.cpu_s),
        actions=taken,
        exact=seen.clean and exact(seen, before, after, taken, open_at_end=connections),
    )


def per_action(used_s: dict[str, float], actions: int) -> dict[str, float]:
    """CPU microseconds for each of `actions`, by part."""
    return {name: value / max(1, actions) * 1e6 for name, value in used_s.items()}


def exact(
    seen: LoadResult, before: TallySnapshot, after: TallySnapshot, taken: int, *, open_at_end: int, actions: int = 1
) -> bool:
    """Whether rows, ledger and board agree, and are what the load generator's own count allows.

    Up to `open_at_end` requests of `actions` each were unanswered when it stopped: they may have been stored.
    """
    slack = open_at_end * actions
    stored = after.rows - before.rows
    return (
        before.agree
        and after.agree
        and seen.answered * actions <= taken <= seen.issued
        and seen.people - slack <= stored <= seen.people
    )

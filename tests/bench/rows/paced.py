"""Single posts at a rate of their own: people do not wait for each other's answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.bench.load import Load, LoadResult, host_of
from tests.bench.rows import posts
from tests.bench.stand import Stand, TallySnapshot

SCRIPT: Final = "paced.lua"
CONNECTIONS: Final = 512
"""Enough that at every rate but an overload one is free when a request is due."""


def load(stand: Stand, *, per_s: float, seconds: float, owed: int = 0) -> Load:
    """`per_s` posts a second, and first those `owed` from before."""
    url = stand.at["petitions"]
    arguments = (stand.petition, stand.new_tag(), host_of(url), f"{per_s:.3f}", str(owed))
    return Load(stand.wrk, url, SCRIPT, arguments, connections=CONNECTIONS, seconds=seconds)


def exact(runs: Sequence[LoadResult], before: TallySnapshot, after: TallySnapshot, taken: int) -> bool:
    """Whether rows, ledger and board agree, and are what the generator's own counts of several runs allow.

    What was refused may be told to come again: it is not counted as answered.
    """
    together = LoadResult(
        requests=sum(run.requests for run in runs),
        seconds=sum(run.seconds for run in runs),
        refused=sum(run.refused for run in runs),
        broken=0,
        timeouts=0,
        p50_ms=0,
        p99_ms=0,
        p999_ms=0,
        issued=sum(run.issued for run in runs),
        people=sum(run.people for run in runs),
        late_p99_ms=0,
        owed=0,
        cpu_s=0,
        bytes=0,
    )
    unanswered = together.issued - together.answered
    return posts.exact(together, before, after, taken, open_at_end=unanswered)

"""In which order what is measured: a rival in the same minutes, turn by turn, the median of three."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeVar

from deploy.local import platform
from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT, remove
from deploy.local.settings import LocalSettings
from shared.errors import MilleplumesError
from shared.topics import SIGNATURES
from tests.bench.rivals import Rivals, rivals
from tests.bench.rows import batches, counter, memory, million, posts
from tests.bench.rows.batches import Batches
from tests.bench.rows.posts import Posts
from tests.bench.stand import Stand, stand
from tests.bench.wrk import Wrk

ROUNDS: Final = 3
CONNECTIONS: Final = 256
MANY_CONNECTIONS: Final = 1000
WARM_UP_SECONDS: Final = 4.0
PRELOADED: Final = 2_000_000
HOME: Final = PROJECT / "build" / "bench-home"
PORTS_APART: Final = 200
"""The bench listens this far from a platform with the same settings, so that both can be up."""
RIVAL_PORT: Final = 8190

Say = Callable[[str], None]
Figures = dict[str, float | bool]
Run = TypeVar("Run", Posts, Batches)


class InterruptedBench(MilleplumesError):  # noqa: N818 - nothing went wrong
    """Somebody pressed Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Seconds of load in each run."""

    single: float
    rival: float
    batch: float


QUICK: Final = Lengths(single=6, rival=5, batch=6)
FULL: Final = Lengths(single=20, rival=15, batch=15)


@dataclass(frozen=True, slots=True)
class Bench:
    """A whole measurement: quick or in full."""

    wrk: Wrk
    quick: bool
    say: Say

    def run(self) -> Figures:
        """Everything, on platforms of its own, each empty at its start.

        Raises:
            InterruptedBench: Ctrl-C.
        """
        figures: Figures = {}
        if not self.quick:
            figures |= self._on_platform("off", self._counter)
        figures |= self._on_platform("off", self._unflushed)
        figures |= self._on_platform("on", self._flushed)
        return figures | {"exact": all(value for name, value in figures.items() if name.endswith(".exact"))}

    @property
    def _lengths(self) -> Lengths:
        return QUICK if self.quick else FULL

    def _on_platform(
        self, flush: Literal["on", "off"], measure: Callable[[Stand, Rivals], Awaitable[Figures]]
    ) -> Figures:
        """Bring up an empty platform without mail, and measure on it."""
        settings = LocalSettings(mille_home=str(HOME), kafka_flush=flush)
        offset = settings.mille_port_offset + PORTS_APART
        settings = LocalSettings(mille_home=str(HOME), kafka_flush=flush, mille_port_offset=offset)
        taken: list[Figures] = []

        async def work(at: Endpoints) -> None:
            topic_settings = SIGNATURES.settings(flush=flush == "on")
            async with stand(at, HOME, self.wrk) as ours, rivals(at, RIVAL_PORT + offset, topic_settings) as theirs:
                await posts.measure(ours, connections=CONNECTIONS, seconds=WARM_UP_SECONDS)
                taken.append(await measure(ours, theirs))

        remove(settings.home)
        try:
            asyncio.run(platform.run(settings, platform.Options(mail=False), self.say, work))
        finally:
            remove(settings.home)
        if not taken:
            raise InterruptedBench("interrupted: nothing was written")
        return taken[0]

    async def _unflushed(self, ours: Stand, theirs: Rivals) -> Figures:
        lengths = self._lengths
        singles: list[Posts] = []
        plain: list[float] = []
        streamed: list[tuple[float, float]] = []
        for number in range(ROUNDS):
            self.say(
                f"Round {number + 1} of {ROUNDS}: single posts, FastAPI with asyncpg, FastStream as in its tutorial"
            )
            singles.append(await self._posts(ours, CONNECTIONS))
            plain.append(await theirs.asyncpg_per_s(ours, connections=CONNECTIONS, seconds=lengths.rival))
            streamed.append(await theirs.faststream_per_s(ours, connections=CONNECTIONS, seconds=lengths.rival))
        figures = _of_posts("single", singles)
        figures["fastapi_asyncpg.accepted_per_s"] = statistics.median(plain)
        figures["faststream_tutorial.accepted_per_s"] = statistics.median(taken for taken, _ in streamed)
        figures["faststream_tutorial.counted_per_s"] = statistics.median(counted for _, counted in streamed)
        figures["single.vs_fastapi_asyncpg"] = _ratio([run.accepted_per_s for run in singles], plain)
        figures["single.vs_faststream_tutorial"] = _ratio(
            [run.counted_per_s for run in singles], [counted for _, counted in streamed]
        )
        figures |= _of_batches(
            "batch100", await _three(partial(batches.measure, ours, size=100, seconds=lengths.batch))
        )
        return figures if self.quick else figures | await self._at_length(ours, theirs)

    async def _at_length(self, ours: Stand, theirs: Rivals) -> Figures:
        """What only the full measurement has."""
        self.say("Single posts over 1,000 connections")
        many = partial(posts.measure, ours, connections=MANY_CONNECTIONS, seconds=self._lengths.single)
        figures = _of_posts("single1000", await _three(many))
        self.say("Batches of 1,000")
        figures |= _of_batches("batch1000", await _three(partial(batches.measure, ours, size=1000, seconds=10.0)))
        self.say("A million single posts")
        done = await million.measure(ours)
        figures |= {"million.seconds": done.seconds, "million.exact": done.exact}
        self.say("FastStream without its log")
        _, quiet = await theirs.faststream_per_s(ours, connections=CONNECTIONS, seconds=self._lengths.rival, quiet=True)
        figures["faststream_quiet.counted_per_s"] = quiet
        self.say("Memory after five million actions")
        held = await memory.measure(ours)
        return figures | {"memory.intake_mb": held.intake_mb, "memory.counter_mb": held.counter_mb}

    async def _flushed(self, ours: Stand, theirs: Rivals) -> Figures:
        runs: list[Posts] = []
        plain: list[float] = []
        for number in range(ROUNDS):
            self.say(f"Round {number + 1} of {ROUNDS}: each batch flushed to disk, and FastAPI with asyncpg")
            runs.append(await self._posts(ours, CONNECTIONS))
            plain.append(await theirs.asyncpg_per_s(ours, connections=CONNECTIONS, seconds=self._lengths.rival))
        figures = _of_posts("flushed", runs)
        figures["flushed.vs_fastapi_asyncpg"] = _ratio([run.accepted_per_s for run in runs], plain)
        return figures

    async def _counter(self, ours: Stand, _theirs: Rivals) -> Figures:
        self.say("The counter alone, two million records waiting, a table that was all but empty")
        run = await counter.measure(ours, records=PRELOADED)
        costs = {f"counter.{name}_us": value for name, value in run.cpu_us.items()}
        return {"counter.rows_per_s": run.rows_per_s, "counter.exact": run.exact, **costs}

    async def _posts(self, ours: Stand, connections: int) -> Posts:
        run = await posts.measure(ours, connections=connections, seconds=self._lengths.single)
        self.say(f"  {run.accepted_per_s:,.0f}/s, p99 {run.p99_ms:.1f} ms, {'exact' if run.exact else 'NOT EXACT'}")
        return run


async def _three(measure: Callable[[], Awaitable[Run]]) -> list[Run]:
    return [await measure() for _ in range(ROUNDS)]


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios taken in the same round."""
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


def _middle(runs: Sequence[Run]) -> Run:
    return sorted(runs, key=lambda run: run.accepted_per_s)[len(runs) // 2]


def _of_posts(name: str, runs: Sequence[Posts]) -> Figures:
    """The figures of the run with the median rate; exact only if every run was."""
    run = _middle(runs)
    return {
        f"{name}.accepted_per_s": run.accepted_per_s,
        f"{name}.counted_per_s": run.counted_per_s,
        f"{name}.p50_ms": run.p50_ms,
        f"{name}.p99_ms": run.p99_ms,
        f"{name}.p999_ms": run.p999_ms,
        f"{name}.drain_s": run.drain_s,
        f"{name}.accept_to_count_p99_ms": run.accept_to_count_p99_ms,
        **_costs(name, run.cpu_us),
        f"{name}.exact": all(one.exact for one in runs),
    }


def _of_batches(name: str, runs: Sequence[Batches]) -> Figures:
    run = _middle(runs)
    return {
        f"{name}.accepted_per_s": run.accepted_per_s,
        f"{name}.counted_per_s": run.counted_per_s,
        f"{name}.p99_ms": run.p99_ms,
        f"{name}.drain_s": run.drain_s,
        **_costs(name, run.cpu_us),
        f"{name}.exact": all(one.exact for one in runs),
    }


def _costs(name: str, cpu_us: dict[str, float]) -> Figures:
    """CPU by part of the system, under short names."""
    short = {"petitions-intake": "intake", "petitions-counter": "counter", "marathon-all": "marathon"}
    return {f"{name}.{short.get(part, part)}_us": value for part, value in cpu_us.items()}

"""In which order what is measured, and on which platform."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple

import asyncpg
import httpx
from aiokafka.errors import KafkaError

from shared.errors import MilleplumesError, SetupError
from tests.bench import platforms, sketch
from tests.bench.figures import Figures, all_exact
from tests.bench.platforms import Kind
from tests.bench.rows import bulk, growth, mail, memory, singles, spike, streams
from tests.bench.turn import FULL, QUICK, Lengths, Say, Turn
from tests.bench.wrk import Wrk

FAILURES: Final = (
    MilleplumesError,
    httpx.HTTPError,
    KafkaError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)
"""What may happen to a row without ending the others."""


class Row(NamedTuple):
    """What is measured under `name`, on which kind of platform; `quick` says that the short measurement has it too."""

    name: str
    kind: Kind
    measure: Callable[[Turn], Awaitable[Figures]]
    quick: bool = False


PLAIN: Final = Kind()
FLUSHED: Final = Kind(flush="on")
ROWS: Final = (
    Row("single", PLAIN, singles.beside_both, quick=True),
    Row("batch100", PLAIN, bulk.hundreds, quick=True),
    Row("faststream", PLAIN, singles.beside_other_faststreams),
    Row("single1000", PLAIN, singles.over_many_connections),
    Row("batch1000", PLAIN, bulk.thousands),
    Row("million", PLAIN, bulk.a_million),
    Row("spike", PLAIN, spike.measure),
    Row("streams", PLAIN, streams.measure),
    Row("memory", PLAIN, memory.measure),
    Row("flushed", FLUSHED, singles.flushed, quick=True),
    Row("flushed1000", FLUSHED, singles.flushed_over_many_connections),
    Row("single2", Kind(intakes=2), singles.with_two_intakes),
    Row("mail", Kind(mail=True), mail.measure),
    Row("counter", Kind(stays=True), growth.ladder),
    Row("counter", Kind(on=True, counters=2), growth.two_members),
)
"""Neighbours of one kind share a platform. What writes most comes last: the disk has it to digest."""


def select_rows(quick: bool, names: Collection[str]) -> list[Row]:  # noqa: FBT001 - a fact, not a switch
    """The rows of the short or the full measurement; those with `names` alone, where there are any.

    Raises:
        SetupError: a name is not that of a row.
    """
    if unknown := set(names) - {row.name for row in ROWS}:
        known = ", ".join(dict.fromkeys(row.name for row in ROWS))
        raise SetupError(f"no such row: {', '.join(sorted(unknown))}. There are: {known}")
    if names:
        return [row for row in ROWS if row.name in names]
    return [row for row in ROWS if row.quick or not quick]


@dataclass(frozen=True, slots=True)
class Bench:
    """A measurement of `rows`: quick or in full."""

    wrk: Wrk
    quick: bool
    say: Say
    rows: Sequence[Row]

    def run(self) -> Figures:
        """Everything, on platforms of its own. A row that fails leaves its `exact` false; the others go on.

        Raises:
            InterruptedBench: Ctrl-C.
            SetupError: the first platform does not come up or does not stay up.
        """
        figures: Figures = {}
        for kind, group in groupby(self.rows, key=lambda row: row.kind):
            rows = list(group)
            try:
                platforms.bring_up(kind, self.wrk, self._lengths, self.say, self._work(rows, figures))
            except SetupError as error:
                if not figures:
                    raise
                self.say(f"{', '.join(row.name for row in rows)}: {error}")
                figures |= {f"{row.name}.exact": False for row in rows}
        figures |= sketch.figures_of(sketch.parts(figures))
        return figures | {"exact": all_exact(figures)}

    @property
    def _lengths(self) -> Lengths:
        return QUICK if self.quick else FULL

    def _work(self, rows: Sequence[Row], figures: Figures) -> Callable[[Turn], Awaitable[None]]:
        async def work(turn: Turn) -> None:
            for row in rows:
                try:
                    figures.update(await row.measure(turn))
                except FAILURES as error:
                    self.say(f"{row.name} failed: {type(error).__name__}: {error}")
                    figures[f"{row.name}.exact"] = False

        return work

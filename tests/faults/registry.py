"""What a scenario is, and the list of all of them."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from tests.faults import evidence
from tests.faults.checker import Expected
from tests.faults.evidence import Marks
from tests.faults.journal import Journal
from tests.faults.load import Load
from tests.faults.stand import PLAIN, Layout, Stand

Confirmation = Literal["none", "optional"]
RATE: Final = 150
NOTICED_WITHIN_S: Final = 15.0
"""Whoever is to be found wanting need not be waited for as long as whoever is to be trusted."""
SPOIL: Final = frozenset(
    {
        "position-before-rows",
        "compare-and-set",
        "starts-at-the-end",
        "trusts-kafka-offsets",
        "trusts-any-log",
        "deletes-before-sending",
    }
)


@dataclass
class Fire:
    """One scenario under way.

    A scenario does its harm, says `heal` when it has ended, and notes with `must` what else has to hold.
    """

    stand: Stand
    campaign: str
    load: Load
    chance: random.Random
    marks: Marks
    expected: Expected = field(default_factory=Expected)
    broken: list[str] = field(default_factory=list)
    healed_at: float = field(default_factory=time.monotonic)
    longest_s: float = math.inf
    _backlog: asyncio.Task[float] | None = None

    @property
    def journal(self) -> Journal:
        return self.load.journal

    def heal(self) -> None:
        """The fault ends now, and what waits is to be counted soon."""
        self.healed_at = time.monotonic()
        self._backlog = asyncio.create_task(evidence.backlog_gone(self.stand), name="backlog")

    async def backlog_gone(self) -> float | None:
        """When all that waited at the end of the fault was counted; None where it was not so in time."""
        if self._backlog is None:
            return None
        left = self.healed_at + self.expected.drain_within_s - time.monotonic()
        await asyncio.wait({self._backlog}, timeout=max(0.0, left))
        gone = self._backlog.result() if self._backlog.done() else None
        return gone if gone is None or gone - self.healed_at <= self.expected.drain_within_s else None

    async def close(self) -> None:
        """Look for nothing any more."""
        if self._backlog is not None:
            self._backlog.cancel()
            await asyncio.wait({self._backlog})

    async def last(self, seconds: float) -> None:
        """Let the fault last so long, or `longest_s` where it is only to be noticed."""
        await asyncio.sleep(min(seconds, self.longest_s))

    def must(self, holds: object, what: str) -> None:
        """Note `what`, which begins with the letter of an invariant, unless it `holds`."""
        if not holds:
            self.broken.append(what)


Harm = Callable[[Fire], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Without:
    """How a scenario has been seen to fail: with `sabotage` in the processes `where`, one of `breaks` is noticed.

    After one that `spoils`, what is stored contradicts itself, and the stand is of no more use. `within_s` bounds how
    long the fault lasts and how long what it did is waited for: longer than all takes where nothing is taken out.
    """

    sabotage: str
    where: tuple[str, ...]
    breaks: str
    within_s: float = NOTICED_WITHIN_S

    @property
    def spoils(self) -> bool:
        return self.sabotage in SPOIL


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A fault under load.

    `rows` are those of the table of faults; `harm` does it; `layout` is what it needs. `rate` is people a second.
    `ruins` marks those after which a stand is of no more use. `patience_s` is how long the load's people go on trying.
    """

    name: str
    rows: str
    harm: Harm
    without: tuple[Without, ...]
    layout: Layout = PLAIN
    rate: int = RATE
    smoke: bool = False
    confirmation: Confirmation = "none"
    letters: float = 0.15
    ruins: bool = False
    judged: bool = True
    patience_s: float = 120.0

    @property
    def story(self) -> str:
        """What happens, in a sentence."""
        return (self.harm.__doc__ or "").strip().splitlines()[0]


SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(
    name: str,
    *,
    rows: str,
    without: tuple[Without, ...],
    layout: Layout = PLAIN,
    rate: int = RATE,
    smoke: bool = False,
    confirmation: Confirmation = "none",
    letters: float = 0.15,
    ruins: bool = False,
    judged: bool = True,
    patience_s: float = 120.0,
) -> Callable[[Harm], Harm]:
    """Put a scenario on the list."""

    def put(harm: Harm) -> Harm:
        assert name not in SCENARIOS
        SCENARIOS[name] = Scenario(
            name=name,
            rows=rows,
            harm=harm,
            without=without,
            layout=layout,
            rate=rate,
            smoke=smoke,
            confirmation=confirmation,
            letters=letters,
            ruins=ruins,
            judged=judged,
            patience_s=patience_s,
        )
        return harm

    return put

"""The scenarios and their registration."""

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
from tests.faults.evidence import StartMarks
from tests.faults.journal import Journal
from tests.faults.load import Load
from tests.faults.stand import PLAIN, Layout, Stand

Confirmation = Literal["none", "optional"]
RATE: Final = 150
SABOTAGED_TIMEOUT_S: Final = 15.0
"""A sabotaged run fails sooner than an intact one is given up."""
DISRUPTIVE_SABOTAGES: Final = frozenset(
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
class ScenarioRun:
    """One running scenario.

    A scenario injects its fault, calls `heal` when the fault ends, and notes other conditions with `require`.
    """

    stand: Stand
    campaign: str
    load: Load
    chance: random.Random
    marks: StartMarks
    expected: Expected = field(default_factory=Expected)
    broken: list[str] = field(default_factory=list)
    healed_at: float = field(default_factory=time.monotonic)
    longest_s: float = math.inf
    _backlog: asyncio.Task[float] | None = None

    @property
    def journal(self) -> Journal:
        return self.load.journal

    def heal(self) -> None:
        """Mark the end of the fault; the backlog has to be counted soon."""
        self.healed_at = time.monotonic()
        self._backlog = asyncio.create_task(evidence.wait_for_backlog(self.stand), name="backlog")

    async def wait_for_backlog(self) -> float | None:
        """Return when the backlog of the fault's end was counted; None if it was not counted in time."""
        if self._backlog is None:
            return None
        remaining = self.healed_at + self.expected.drain_within_s - time.monotonic()
        await asyncio.wait({self._backlog}, timeout=max(0.0, remaining))
        counted_at = self._backlog.result() if self._backlog.done() else None
        return counted_at if counted_at is None or counted_at - self.healed_at <= self.expected.drain_within_s else None

    async def close(self) -> None:
        """Stop watching the backlog."""
        if self._backlog is not None:
            self._backlog.cancel()
            await asyncio.wait({self._backlog})

    async def wait(self, seconds: float) -> None:
        """Let the fault last for `seconds`, or `longest_s` if it only has to be noticed."""
        await asyncio.sleep(min(seconds, self.longest_s))

    def require(self, holds: object, what: str) -> None:
        """Note `what`, which begins with the letter of an invariant, unless it `holds`."""
        if not holds:
            self.broken.append(what)


Harm = Callable[[ScenarioRun], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sabotaged:
    """A run that has to fail: with `sabotage` in the processes `where`, one of the invariants `breaks` is violated.

    After a disruptive one the stored data is inconsistent, and the stand cannot be used again. `within_s` bounds the
    fault and the wait for its effects; an intact run takes less.
    """

    sabotage: str
    where: tuple[str, ...]
    breaks: str
    within_s: float = SABOTAGED_TIMEOUT_S

    @property
    def is_disruptive(self) -> bool:
        return self.sabotage in DISRUPTIVE_SABOTAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A fault under load.

    `rows` are those of the table of faults; `harm` injects it; `layout` is the stand it needs. `rate` is people per
    second. After one that `ruins`, the stand cannot be used again. The load's people retry for `patience_s` seconds.
    """

    name: str
    rows: str
    harm: Harm
    without: tuple[Sabotaged, ...]
    layout: Layout = PLAIN
    rate: int = RATE
    smoke: bool = False
    confirmation: Confirmation = "none"
    letters: float = 0.15
    ruins: bool = False
    judged: bool = True
    patience_s: float = 120.0

    @property
    def description(self) -> str:
        """The fault, in one sentence."""
        return (self.harm.__doc__ or "").strip().splitlines()[0]


SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(
    name: str,
    *,
    rows: str,
    without: tuple[Sabotaged, ...],
    layout: Layout = PLAIN,
    rate: int = RATE,
    smoke: bool = False,
    confirmation: Confirmation = "none",
    letters: float = 0.15,
    ruins: bool = False,
    judged: bool = True,
    patience_s: float = 120.0,
) -> Callable[[Harm], Harm]:
    """Register a scenario."""

    def register(harm: Harm) -> Harm:
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

    return register

"""The rows of batches and of a million."""

from __future__ import annotations

from functools import partial
from typing import Final

from tests.bench.figures import Figures, of_batches, run_three_times
from tests.bench.rows import batches, million
from tests.bench.turn import Turn

THOUSANDS_SECONDS: Final = 10.0


async def hundreds(turn: Turn) -> Figures:
    """`batch100`: batches of 100, as a partner sends them."""
    turn.say("Batches of 100")
    run = partial(batches.measure, turn.ours, size=100, seconds=turn.lengths.batch)
    return of_batches("batch100", await run_three_times(run))


async def thousands(turn: Turn) -> Figures:
    """`batch1000`: batches of 1,000, the largest that are taken."""
    turn.say("Batches of 1,000")
    run = partial(batches.measure, turn.ours, size=1000, seconds=THOUSANDS_SECONDS)
    return of_batches("batch1000", await run_three_times(run))


async def a_million(turn: Turn) -> Figures:
    """`million`: a million single posts, until the board shows everybody."""
    turn.say("A million single posts")
    done = await million.measure(turn.ours)
    return {"million.seconds": done.seconds, "million.exact": done.exact}

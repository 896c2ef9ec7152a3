"""What an action costs as the tables grow, and how fast one and two counters are on an empty and on a large table."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from deploy.local.home import PROJECT
from tests.bench import filling
from tests.bench.figures import Figures, costs
from tests.bench.plots import Line, Panel, write
from tests.bench.rows import counter
from tests.bench.rows.counter import CounterResult
from tests.bench.stand import Stand, StandError
from tests.bench.turn import Turn

MILLION: Final = 1_000_000
WAITING: Final = 2 * MILLION
LESS_WAITING: Final = MILLION
FEW_WAITING: Final = 300_000
LARGE: Final = 20
STEPS: Final = (0, 1, 10, LARGE)
"""Millions of rows that are stored already."""
BYTES_EACH: Final = 1_500
"""Of a stored row on disk, with its indexes and its share of the log ahead; measured, and rounded up."""
PLOT: Final = "bench-growth.svg"


async def ladder(turn: Turn) -> Figures:
    """One counter at each step of growth: `counter`, `growth` and `counter20m`.

    Raises:
        StandError: the disk is too small.
    """
    stand, url = turn.ours, _petitions(turn.ours)
    room = shutil.disk_usage(PROJECT).free
    if room < LARGE * MILLION * BYTES_EACH:
        raise StandError(f"{LARGE} million rows need {LARGE * MILLION * BYTES_EACH >> 30} GiB of disk")
    await filling.keep_one_row(url)
    found: dict[int, CounterResult] = {}
    filled = 0
    for step in STEPS:
        if step:
            stored = 0 if step == STEPS[1] else await stand.stored()
            if not stored:
                await filling.keep_one_row(url)
            missing = step * MILLION - stored
            turn.say(f"Filling the table up to {step} million rows")
            await filling.fill(url, filled, filled + missing)
            filled += missing
        records = WAITING if step in (STEPS[0], LARGE) else LESS_WAITING
        found[step] = await _counted(stand, turn, records, f"one counter, {step} million rows stored")
    return _figures(found)


async def two_members(turn: Turn) -> Figures:
    """Two counters beside the rows that the ladder left, on an empty table, and where statistics are wrong."""
    stand = turn.ours
    large = await _counted(stand, turn, WAITING, f"two counters, {LARGE} million rows stored")
    await filling.keep_one_row(_petitions(stand))
    empty = await _counted(stand, turn, WAITING, "two counters, an empty table")
    await filling.keep_one_row(_petitions(stand), known=True)
    misled = await _counted(stand, turn, FEW_WAITING, "two counters, a table that statistics call tiny")
    return {
        "counter.misled_rows_per_s": misled.rows_per_s,
        **costs("counter.misled", misled.cpu_us),
        "counter.misled_exact": misled.exact,
        "counter.two_members_rows_per_s": empty.rows_per_s,
        "counter.two_members_exact": empty.exact,
        "counter20m.two_members_rows_per_s": large.rows_per_s,
        "counter20m.two_members_exact": large.exact,
    }


async def _counted(stand: Stand, turn: Turn, records: int, what: str) -> CounterResult:
    turn.say(f"The counter alone: {what}, {records:,} records waiting")
    run = await counter.measure(stand, records=records)
    turn.say(f"  {run.rows_per_s:,.0f}/s, {run.cost_us:.1f} us each, {'exact' if run.exact else 'NOT EXACT'}")
    return run


def _figures(found: Mapping[int, CounterResult]) -> Figures:
    empty, large = found[STEPS[0]], found[LARGE]
    write(
        PLOT,
        "The cost of an action as the table grows",
        [
            Panel(
                "counter and PostgreSQL: microseconds of CPU for each action",
                [
                    Line("both", [(step, run.cost_us) for step, run in found.items()]),
                    Line("PostgreSQL", [(step, run.cpu_us["postgres"]) for step, run in found.items()]),
                    Line("counter", [(step, run.cpu_us["counter"]) for step, run in found.items()]),
                ],
                "millions of rows stored",
                dots=True,
            )
        ],
    )
    return {
        "counter.rows_per_s": empty.rows_per_s,
        **costs("counter", empty.cpu_us),
        "counter.wal_bytes": empty.wal_bytes,
        "counter.exact": empty.exact,
        "counter20m.rows_per_s": large.rows_per_s,
        **costs("counter20m", large.cpu_us),
        "counter20m.wal_bytes": large.wal_bytes,
        "counter20m.exact": large.exact,
        **{f"growth.cost_us_{step}m": run.cost_us for step, run in found.items()},
        **{f"growth.rows_per_s_{step}m": run.rows_per_s for step, run in found.items()},
        f"growth.cost_ratio_{LARGE}m": large.cost_us / empty.cost_us,
        "growth.exact": all(run.exact for run in found.values()),
    }


def _petitions(stand: Stand) -> str:
    """The database of petitions, as its administrator."""
    name = urlsplit(stand.at["databases"]["petitions"]).path
    return urlunsplit(urlsplit(stand.at["administrator"])._replace(path=name))

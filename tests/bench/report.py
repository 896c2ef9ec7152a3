"""Writes what was measured: build/bench.json for programs, docs/benchmarks.md for people, a table on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from deploy.local.home import PROJECT
from tests.bench.machine import Machine

JSON_FILE: Final = PROJECT / "build" / "bench.json"
PAGE: Final = PROJECT / "docs" / "benchmarks.md"
METHOD: Final = Path(__file__).with_name("method.md")


class Goal(NamedTuple):
    """What a figure must reach and aims at; `more` says whether more is better."""

    must: float
    aim: float
    more: bool = True

    def verdict(self, value: float) -> str:
        """Where `value` stands."""
        sign = 1 if self.more else -1
        if sign * value >= sign * self.aim:
            return "aim reached"
        return "reached" if sign * value >= sign * self.must else "missed"


GOALS: Final[Mapping[str, Goal]] = {
    "single.accepted_per_s": Goal(25_000, 40_000),
    "flushed.accepted_per_s": Goal(16_000, 25_000),
    "flushed.vs_fastapi_asyncpg": Goal(8, 12),
    "single1000.accepted_per_s": Goal(30_000, 50_000),
    "single.vs_fastapi_asyncpg": Goal(12, 20),
    "single.vs_faststream_tutorial": Goal(40, 70),
    "single.p99_ms": Goal(25, 10, more=False),
    "single.intake_us": Goal(30, 18, more=False),
    "single.accept_to_count_p99_ms": Goal(500, 150, more=False),
    "single.drain_s": Goal(1, 0.1, more=False),
    "batch100.counted_per_s": Goal(80_000, 150_000),
    "counter.rows_per_s": Goal(80_000, 180_000),
    "memory.intake_mb": Goal(130, 90, more=False),
    "memory.counter_mb": Goal(130, 90, more=False),
    "million.seconds": Goal(45, 25, more=False),
}
"""The table of what to reach."""


def write(figures: Mapping[str, float | bool], machine: Machine, measured_at: str, *, busy: float, quick: bool) -> None:
    """Write both files; `busy` is the share of the machine that others used when it began."""
    about: dict[str, Any] = {
        "measured_at": measured_at,
        "quick": quick,
        "busy_share_before": round(busy, 3),
        "machine": machine._asdict(),
    }
    rounded = {name: value if isinstance(value, bool) else _rounded(value) for name, value in figures.items()}
    JSON_FILE.parent.mkdir(parents=True, exist_ok=True)
    JSON_FILE.write_text(json.dumps({**rounded, **about}, indent=2) + "\n")
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(_page(figures, machine, measured_at, busy=busy, quick=quick))


def show(console: Console, figures: Mapping[str, float | bool]) -> None:
    """Print the table."""
    table = Table(title="What was measured")
    table.add_column("figure", min_width=max(map(len, figures)), no_wrap=True)
    for head in ("measured", "must", "aim"):
        table.add_column(head, justify="right")
    table.add_column("")
    for name, value in figures.items():
        goal = GOALS.get(name)
        goals = (f"{goal.must:,g}", f"{goal.aim:,g}", goal.verdict(value)) if goal else ("", "", "")
        table.add_row(name, _text(value), *goals)
    console.print(table)


def _page(figures: Mapping[str, float | bool], machine: Machine, measured_at: str, *, busy: float, quick: bool) -> str:
    command = "QUICK=1 make bench" if quick else "make bench"
    cores = f"{machine.cores} cores shared by load generator, Kafka, PostgreSQL and services"
    place = f"{machine.processor}, {cores}, {machine.memory_gib} GiB, {machine.kernel}, Python {machine.python}"
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{command}` on {measured_at[:10]}. Run it to have your own.",
        "",
        f"Machine: {place}. When it began, others used {busy:.0%} of it.",
        "",
        "## Against what was to be reached",
        "",
        "| figure | measured | must | aim | |",
        "|---|---:|---:|---:|---|",
    ]
    for name, goal in GOALS.items():
        if name in figures:
            value = figures[name]
            lines.append(f"| `{name}` | {_text(value)} | {goal.must:,g} | {goal.aim:,g} | {goal.verdict(value)} |")
    lines += ["", "## Everything that was measured", "", "| figure | measured |", "|---|---:|"]
    lines += [f"| `{name}` | {_text(value)} |" for name, value in figures.items()]
    return "\n".join([*lines, "", METHOD.read_text()])


def _text(value: float | bool) -> str:  # noqa: FBT001 - a figure, not a switch
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")

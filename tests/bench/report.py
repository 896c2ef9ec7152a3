"""Writes what was measured: build/bench.json for programs, docs/benchmarks.md for people, a table on the terminal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from deploy.local.home import PROJECT
from tests.bench import sketch
from tests.bench.figures import all_exact
from tests.bench.machine import Machine
from tests.bench.plots import FOLDER as PLOTTED
from tests.bench.rows import growth, spike

JSON_FILE: Final = PROJECT / "build" / "bench.json"
PAGE: Final = PROJECT / "docs" / "benchmarks.md"
IMAGES: Final = PROJECT / "docs" / "images"
PLOTS: Final = ((growth.PLOT, "Growth"), (spike.PLOT, "A real spike"))
"""Each with its heading."""
FULL_COMMAND: Final = "make bench"
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
    "counter20m.rows_per_s": Goal(60_000, 150_000),
    "growth.cost_ratio_20m": Goal(1.6, 1.1, more=False),
    "streams.5000_cpu_share": Goal(0.3, 0.1, more=False),
    "streams.1000_counted_ratio": Goal(0.95, 1),
    "mail.per_s": Goal(500, 1_500),
    "memory.intake_mb": Goal(130, 90, more=False),
    "memory.counter_mb": Goal(130, 90, more=False),
    "million.seconds": Goal(45, 25, more=False),
}
"""The table of what to reach."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What there is to know about a measurement. `busy` is the share of the machine that others used when it began."""

    machine: Machine
    measured_at: str
    busy: float
    took_s: float
    quick: bool
    rows: Sequence[str]

    @property
    def command(self) -> str:
        """How to have the same again."""
        rows = f"ROWS={','.join(self.rows)} " if self.rows else ""
        return f"{'QUICK=1 ' if self.quick else ''}{rows}{FULL_COMMAND}"


class Again(NamedTuple):
    """A later measurement of some rows, whose figures stand in the place of earlier ones."""

    command: str
    measured_at: str


def write(figures: Mapping[str, float | bool], about: RunInfo) -> list[Path]:
    """Write the JSON and, of a measurement of all rows, the page and its plots; returns the files written.

    Figures of some rows alone take the place of those in the last full measurement, where there is one.
    """
    again: list[Again] = []
    if about.rows and not about.quick and (last := _last_full()) is not None:
        again = [one for one in last.again if one.command != about.command]
        again.append(Again(about.command, about.measured_at))
        figures, about = {**last.figures, **figures}, last.about
        figures |= sketch.figures_of(sketch.parts(figures))
        figures["exact"] = all_exact(figures)
    document: dict[str, Any] = {
        "measured_at": about.measured_at,
        "command": about.command,
        "again": again,
        "quick": about.quick,
        "took_s": round(about.took_s),
        "busy_share_before": round(about.busy, 3),
        "machine": about.machine._asdict(),
    }
    rounded = {name: value if isinstance(value, bool) else _rounded(value) for name, value in figures.items()}
    JSON_FILE.parent.mkdir(parents=True, exist_ok=True)
    JSON_FILE.write_text(json.dumps({**rounded, **document}, indent=2) + "\n")
    if about.rows:
        return [JSON_FILE]
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    plots = [] if about.quick else [name for name, _ in PLOTS if (PLOTTED / name).exists()]
    for name in plots:
        shutil.copyfile(PLOTTED / name, IMAGES / name)
    PAGE.write_text(_page(figures, about, again, plots))
    return [JSON_FILE, PAGE, *(IMAGES / name for name in plots)]


class _Last(NamedTuple):
    figures: dict[str, float | bool]
    about: RunInfo
    again: list[Again]


def _last_full() -> _Last | None:
    """The last measurement of all rows, if the JSON is of one."""
    if not JSON_FILE.exists():
        return None
    document = json.loads(JSON_FILE.read_text())
    if document["command"] != FULL_COMMAND:
        return None
    about = RunInfo(
        machine=Machine(**document["machine"]),
        measured_at=document["measured_at"],
        busy=document["busy_share_before"],
        took_s=document["took_s"],
        quick=False,
        rows=(),
    )
    figures = {name: value for name, value in document.items() if "." in name}
    return _Last(figures, about, [Again(*one) for one in document.get("again", ())])


def print_table(console: Console, figures: Mapping[str, float | bool]) -> None:
    """Print the table."""
    table = Table(title="What was measured")
    table.add_column("figure", min_width=max(map(len, figures)), no_wrap=True)
    for head in ("measured", "must", "aim"):
        table.add_column(head, justify="right")
    table.add_column("", no_wrap=True)
    for name, value in figures.items():
        goal = GOALS.get(name)
        goals = (f"{goal.must:,g}", f"{goal.aim:,g}", goal.verdict(value)) if goal else ("", "", "")
        table.add_row(name, _text(value), *goals)
    console.print(table)


def _page(figures: Mapping[str, float | bool], about: RunInfo, again: Sequence[Again], plots: Sequence[str]) -> str:
    machine = about.machine
    cores = f"{machine.cores} cores shared by load generator, Kafka, PostgreSQL and services"
    day = about.measured_at[:10]
    place = f"{machine.processor}, {cores}, {machine.memory_gib} GiB, {machine.kernel}, Python {machine.python}"
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{about.command}` on {day} in {about.took_s / 60:.0f} minutes. Run it to have your own.",
        *(f"What `{one.command}` measures is of a later run, on {one.measured_at[:10]}." for one in again),
        "",
        f"Machine: {place}. When it began, others used {about.busy:.0%} of it.",
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
    for name, title in PLOTS:
        if name in plots:
            lines += ["", f"## {title}", "", f"![{title}](images/{name})"]
    lines += ["", *sketch.text(sketch.parts(figures)), "## Everything that was measured", ""]
    lines += ["| figure | measured |", "|---|---:|"]
    measured = {name: value for name, value in figures.items() if not name.startswith("sketch.")}
    lines += [f"| `{name}` | {_text(value)} |" for name, value in measured.items()]
    return "\n".join([*lines, "", METHOD.read_text()])


def _text(value: float | bool) -> str:  # noqa: FBT001 - a figure, not a switch
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")

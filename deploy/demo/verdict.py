"""Expected against found, line by line. One difference is enough to fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.console import Console
from rich.table import Table

COUNTRY_WIDTH: Final = 38
"""Columns of a terminal that one country takes."""
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison: `low` to `high` is what may be found; mostly both are the same."""

    name: str
    low: int
    high: int
    found: int

    @property
    def holds(self) -> bool:
        return self.low <= self.found <= self.high

    def under(self, title: str) -> Line:
        """The same line with `title` before its name."""
        return replace(self, name=f"{title} {self.name}")

    @property
    def expected(self) -> str:
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"


def exactly(name: str, expected: int, found: int) -> Line:
    """A comparison that holds for one value alone."""
    return Line(name, expected, expected, found)


def compare(
    title: str, expected: Mapping[str, Mapping[str, int]], document: Mapping[str, Any]
) -> tuple[list[Line], list[Line]]:
    """The public `document` against `expected`, map by map: lines for the countries, lines for everything else.

    A cell that is on one side alone counts as 0 on the other; `other` must be 0.
    """
    countries = _cells("", expected["by_country"], document["by_country"])
    total = sum(expected["by_kind"].values())
    rest = [exactly(f"{title}: {name}", total, document[name]) for name in ("total", "public_total")]
    for name, cells in expected.items():
        if name != "by_country":
            rest += _cells(f"{title}: {name.removeprefix('by_')} ", cells, document[name])
    rest.append(exactly(f"{title}: country other", 0, document["by_country"].get(OTHER, 0)))
    return countries, rest


def show(console: Console, countries: Sequence[Line], lines: Sequence[Line]) -> None:
    """Print all lines, the countries several abreast."""
    table = Table(title="Signatures by country: expected from the published file, and the public document")
    abreast = max(1, console.width // COUNTRY_WIDTH)
    for _ in range(abreast):
        table.add_column("country")
        table.add_column("expected", justify="right")
        table.add_column("counted", justify="right")
        table.add_column("", no_wrap=True)
    height = -(-len(countries) // abreast)
    for row in range(height):
        cells: list[str] = []
        for line in countries[row::height]:
            cells += [line.name, line.expected, f"{line.found:,}", _mark(line)]
        table.add_row(*cells)
    console.print(table)
    table = Table()
    table.add_column("what")
    table.add_column("expected", justify="right")
    table.add_column("found", justify="right")
    table.add_column("", no_wrap=True)
    for line in lines:
        table.add_row(line.name, line.expected, f"{line.found:,}", _mark(line))
    console.print(table)


def _cells(prefix: str, expected: Mapping[str, int], found: Mapping[str, int]) -> list[Line]:
    names = [*expected, *sorted(found.keys() - expected.keys() - {OTHER})]
    return [exactly(f"{prefix}{name}", expected.get(name, 0), found.get(name, 0)) for name in names]


def _mark(line: Line) -> str:
    return "=" if line.holds else "[bold red]differs[/]"

"""Compare what was expected with what was found. One difference is enough to fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

COUNTRY_WIDTH: Final = 38
"""The terminal columns of one country."""
OTHER: Final = "other"


class Comparison(NamedTuple):
    """One comparison: `found` must lie in `low` to `high`, which are mostly the same."""

    name: str
    low: int
    high: int
    found: int

    @property
    def holds(self) -> bool:
        return self.low <= self.found <= self.high

    @property
    def expected(self) -> str:
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"


def exactly(name: str, expected: int, found: int) -> Comparison:
    """Return a comparison that holds for one value only."""
    return Comparison(name, expected, expected, found)


def compare(
    title: str, expected: Mapping[str, Mapping[str, int]], document: Mapping[str, Any]
) -> tuple[list[Comparison], list[Comparison]]:
    """Compare the public `document` with `expected`, map by map; return the countries and everything else.

    A cell that one side lacks counts as 0 there; `other` must be 0.
    """
    countries = _cells("", expected["by_country"], document["by_country"])
    total = sum(expected["by_kind"].values())
    rest = [exactly(f"{title}: {name}", total, document[name]) for name in ("total", "public_total")]
    for name, cells in expected.items():
        if name != "by_country":
            rest += _cells(f"{title}: {name.removeprefix('by_')} ", cells, document[name])
    rest.append(exactly(f"{title}: country other", 0, document["by_country"].get(OTHER, 0)))
    return countries, rest


def print_comparisons(console: Console, countries: Sequence[Comparison], lines: Sequence[Comparison]) -> None:
    """Print all comparisons, with several countries in a row."""
    title = "Signatures by country: expected from the published file, and the public document"
    per_row = max(1, console.width // COUNTRY_WIDTH)
    console.print(_table(countries, Table(title=title), "country", "counted", per_row))
    console.print(_table(lines, Table(), "what", "found", 1))


def _table(comparisons: Sequence[Comparison], table: Table, name: str, found: str, per_row: int) -> Table:
    for _ in range(per_row):
        table.add_column(name)
        table.add_column("expected", justify="right")
        table.add_column(found, justify="right")
        table.add_column("", no_wrap=True)
    height = -(-len(comparisons) // per_row)
    for row in range(height):
        cells: list[str] = []
        for each in comparisons[row::height]:
            cells += [each.name, each.expected, f"{each.found:,}", "=" if each.holds else "[bold red]differs[/]"]
        table.add_row(*cells)
    return table


def _cells(prefix: str, expected: Mapping[str, int], found: Mapping[str, int]) -> list[Comparison]:
    names = [*expected, *sorted(found.keys() - expected.keys() - {OTHER})]
    return [exactly(f"{prefix}{name}", expected.get(name, 0), found.get(name, 0)) for name in names]

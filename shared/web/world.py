"""The world map in pen strokes: the position and the weight of each country's strokes.

The positions are our own drawing over Natural Earth's shapes (public domain) on a grid of 4.8 by 9.6; every country
and territory with its own ISO code has at least one stroke, except Antarctica. No borders are drawn.
"""

from __future__ import annotations

import functools
import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ORIGIN: Final = (4.85, 24.0)
_GRID: Final = (4.8, 9.6)
_CLASS_MINIMUMS: Final = (10, 100, 1_000, 10_000, 100_000)
"""The minimum count of classes 1 to 5; class 0 lies below."""
PENS: Final = ((0.5, -1.8), (0.9, -3.4), (1.1, -4.6), (1.5, -6.0), (1.7, -7.0), (1.9, -7.8))
"""Run and rise of a stroke, by class."""


@dataclass(frozen=True, slots=True)
class Territory:
    """A country or territory on the map: `path` is the data of its SVG path."""

    code: str
    count: int
    path: str


def stroke_class(count: int) -> int:
    """Return the class of a count, 0 to 5, which sets the weight of its strokes."""
    return bisect_right(_CLASS_MINIMUMS, count)


def territories_by_class(by_country: Mapping[str, int]) -> list[list[Territory]]:
    """Return every country on the map, in a list for each class. A country not in `by_country` has a count of 0."""
    classes: list[list[Territory]] = [[] for _ in PENS]
    for code in _positions():
        count = by_country.get(code, 0)
        class_ = stroke_class(count)
        classes[class_].append(Territory(code, count, _path(code, class_)))
    return classes


@functools.cache
def _positions() -> dict[str, tuple[tuple[float, float], ...]]:
    data: dict[str, str] = json.loads((Path(__file__).parent / "data" / "world.json").read_bytes())
    return {code: tuple(_centre(cell) for cell in cells.split()) for code, cells in data.items()}


def _centre(cell: str) -> tuple[float, float]:
    column, row = cell.split(",")
    return _ORIGIN[0] + int(column) * _GRID[0], _ORIGIN[1] + int(row) * _GRID[1]


@functools.cache
def _path(code: str, class_: int) -> str:
    run, rise = PENS[class_]
    return "".join(f"M{x - run / 2:.4g} {y - rise / 2:.4g}l{run:g} {rise:g}" for x, y in _positions()[code])

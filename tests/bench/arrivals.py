"""The steepest minutes of a real arrival curve."""

from __future__ import annotations

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

FILE: Final = Path(__file__).parent / "data" / "petition-131215-arrivals-2016.csv"
MINUTE: Final = 60.0
MINUTES: Final = 10
APART_SECONDS: Final = 180.0
"""Points further apart than this say nothing about single minutes."""


class Point(NamedTuple):
    """How many had signed at a time, in seconds since 1970."""

    time: float
    total: float


def read(path: Path = FILE) -> list[Point]:
    """The points of a curve, in order of time."""
    with path.open(newline="") as file:
        return sorted(Point(float(row["time"]), float(row["total"])) for row in csv.DictReader(file))


def steepest(points: Sequence[Point], minutes: int = MINUTES) -> list[float]:
    """People in each of the `minutes` minutes, beginning at a point, in which most signed and points are close enough.

    Totals between two points are on the line between them.
    """
    times = [point.time for point in points]
    length = minutes * MINUTE

    def close(start: int) -> bool:
        end = bisect_left(times, times[start] + length)
        return end < len(times) and all(
            later - earlier <= APART_SECONDS for earlier, later in pairwise(times[start : end + 1])
        )

    starts = [times[start] for start in range(len(times)) if close(start)]
    begin = max(starts, key=lambda time: _total(points, times, time + length) - _total(points, times, time))
    ends = [_total(points, times, begin + minute * MINUTE) for minute in range(minutes + 1)]
    return [later - earlier for earlier, later in pairwise(ends)]


def _total(points: Sequence[Point], times: Sequence[float], time: float) -> float:
    place = bisect_right(times, time) - 1
    if place + 1 == len(points):
        return points[place].total
    before, after = points[place], points[place + 1]
    return before.total + (after.total - before.total) * (time - before.time) / (after.time - before.time)

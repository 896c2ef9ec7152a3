"""The rate per minute over the last hour, as strokes and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MINUTES: Final = 60
MINUTE: Final = 60
STEP: Final = 10
_HEIGHT: Final = 100
_TALLEST: Final = 94


@dataclass(frozen=True, slots=True)
class Span:
    """The actions of ten minutes, `start` to `end` in seconds since 1970."""

    start: float
    end: float
    count: int


@dataclass(frozen=True, slots=True)
class MinutesView:
    """The last sixty minutes. `past` and `current` (which is not over) are SVG path data in a box of 60 by 100."""

    start: float
    end: float
    least: int
    peak: int
    latest: int
    past: str
    current: str
    spans: tuple[Span, ...]


def minutes_view(history: Sequence[tuple[float, int]], as_of: float) -> MinutesView:
    """The hour that ends with the minute of `as_of`, from (start of minute, count) pairs; minutes not named are 0."""
    end = (int(as_of) // MINUTE + 1) * MINUTE
    start = end - MINUTES * MINUTE
    counts = [0] * MINUTES
    for at, count in history:
        place = int(at - start) // MINUTE
        if 0 <= place < MINUTES:
            counts[place] += count
    peak = max(counts)
    strokes = [f"M{place + 0.5:g} {_HEIGHT}V{_top(count, peak)}" for place, count in enumerate(counts) if count > 0]
    current = strokes.pop() if counts[-1] > 0 else ""
    spans = (
        Span(start + place * MINUTE, start + (place + STEP) * MINUTE, sum(counts[place : place + STEP]))
        for place in range(0, MINUTES, STEP)
    )
    return MinutesView(start, end, min(counts[:-1]), peak, counts[-1], "".join(strokes), current, tuple(spans))


def _top(count: int, peak: int) -> int:
    return _HEIGHT - count * _TALLEST // peak

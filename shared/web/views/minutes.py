"""The rate per minute over the last hour, as strokes and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MINUTES: Final = 60
MINUTE_SECONDS: Final = 60
SPAN_MINUTES: Final = 10
_HEIGHT: Final = 100
_MAX_STROKE_HEIGHT: Final = 94


@dataclass(frozen=True, slots=True)
class Span:
    """The actions of ten minutes, `start` to `end` in seconds since 1970."""

    start: float
    end: float
    count: int


@dataclass(frozen=True, slots=True)
class MinutesView:
    """The last sixty minutes. `past` and `current` (the unfinished minute) are SVG path data in a box of 60 by 100."""

    start: float
    end: float
    peak: int
    latest: int
    past: str
    current: str
    spans: tuple[Span, ...]


def minutes_view(history: Sequence[tuple[float, int]], as_of: float) -> MinutesView:
    """Return the hour up to the minute of `as_of`, from (start of minute, count) pairs; missing minutes are 0."""
    end = (int(as_of) // MINUTE_SECONDS + 1) * MINUTE_SECONDS
    start = end - MINUTES * MINUTE_SECONDS
    counts = [0] * MINUTES
    for at, count in history:
        index = int(at - start) // MINUTE_SECONDS
        if 0 <= index < MINUTES:
            counts[index] += count
    peak = max(counts)
    strokes = [f"M{index + 0.5:g} {_HEIGHT}V{_top(count, peak)}" for index, count in enumerate(counts) if count > 0]
    current = strokes.pop() if counts[-1] > 0 else ""
    spans = (
        Span(
            start + index * MINUTE_SECONDS,
            start + (index + SPAN_MINUTES) * MINUTE_SECONDS,
            sum(counts[index : index + SPAN_MINUTES]),
        )
        for index in range(0, MINUTES, SPAN_MINUTES)
    )
    return MinutesView(start, end, peak, counts[-1], "".join(strokes), current, tuple(spans))


def _top(count: int, peak: int) -> int:
    return _HEIGHT - count * _MAX_STROKE_HEIGHT // peak

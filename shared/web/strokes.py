"""Counts as pen strokes, in groups of ten. The number of strokes is rounded down, never up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_STROKES: Final = 100
_TAIL: Final = 1.45
"""The last stroke of a row ends here before the next would begin (.42 wide, .48 apart, a gap of 1.48 after ten)."""


@dataclass(frozen=True, slots=True)
class Strokes:
    """`written` of `total` strokes. `end` and `width` are the ends of the written part and of the row, in strokes."""

    written: int
    total: int
    full: bool

    @property
    def end(self) -> str:
        return _format_number(self.written - (self.written % 10) / 10)

    @property
    def width(self) -> str:
        return _format_number(self.total - _TAIL)


def strokes(count: int, goal: int, total: int = DEFAULT_STROKES) -> Strokes:
    """Return the strokes of `count` acts towards `goal`: all are written only once the goal is reached."""
    if goal <= 0:
        return Strokes(0, total, full=False)
    written = max(0, min(total, count * total // goal))
    return Strokes(written, total, full=count >= goal)


def milestone(count: int) -> int:
    """Return the next round number above `count` (1, 2 or 5 and zeros, from 100 on), the scale without a goal."""
    power = 100
    while True:
        for step in (1, 2, 5):
            if step * power > count:
                return step * power
        power *= 10


def _format_number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")

"""Every count drawn as pen strokes, in groups of ten. Rounded down: never ahead of the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OF: Final = 100
_TAIL: Final = 1.45
"""The last stroke of a row ends here before the next would begin (.42 wide, .48 apart, a gap of 1.48 after ten)."""


@dataclass(frozen=True, slots=True)
class Strokes:
    """`written` of `of` strokes. `end` and `width` are where the written part and the whole row end, in strokes."""

    written: int
    of: int
    full: bool

    @property
    def end(self) -> str:
        return _short(self.written - (self.written % 10) / 10)

    @property
    def width(self) -> str:
        return _short(self.of - _TAIL)


def strokes(count: int, goal: int, of: int = OF) -> Strokes:
    """The strokes of `count` acts towards `goal`: all of them only once the goal is reached."""
    if goal <= 0:
        return Strokes(0, of, full=False)
    written = max(0, min(of, count * of // goal))
    return Strokes(written, of, full=count >= goal)


def milestone(count: int) -> int:
    """The next round number above `count` (1, 2 or 5 and zeros, from 100 on): the scale where no goal is set."""
    power = 100
    while True:
        for step in (1, 2, 5):
            if step * power > count:
                return step * power
        power *= 10


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")

"""Clocks that are wrong."""

from __future__ import annotations

import time


class WrongClock:
    """The machine's clock, wrong by `offset_seconds`."""

    def __init__(self, offset_seconds: float) -> None:
        self._offset = offset_seconds

    def now(self) -> float:
        return time.time() + self._offset

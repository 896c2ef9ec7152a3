"""The clock that tests set."""

from __future__ import annotations

from datetime import datetime


class ManualClock:
    """A clock that moves only when a test moves it."""

    def __init__(self, now: float | datetime) -> None:
        self.set(now)

    def set(self, now: float | datetime) -> None:
        """Set the time to `now`, in seconds since 1970 or as an aware datetime."""
        self._now = now.timestamp() if isinstance(now, datetime) else now

    def advance(self, seconds: float) -> None:
        """Move the time on by `seconds`."""
        self._now += seconds

    def now(self) -> float:
        return self._now

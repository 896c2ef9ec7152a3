"""The time as events carry it, formatted once a millisecond."""

from __future__ import annotations

from shared.clock import rfc3339


class TimestampCache:
    """Formats times for the fast route, where many requests share a millisecond."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._formatted = b""

    def format(self, now: float) -> bytes:
        """Return `now`, in seconds since 1970, as RFC 3339 with milliseconds."""
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            self._formatted = rfc3339(now).encode("ascii")
        return self._formatted

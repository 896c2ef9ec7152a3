"""The time as events carry it, written out once a millisecond."""

from __future__ import annotations

from shared.clock import rfc3339


class TimestampCache:
    """Writes times for the hot route, where many requests share a millisecond."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._text = b""

    def text(self, now: float) -> bytes:
        """`now`, in seconds since 1970, as RFC 3339 with milliseconds."""
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            self._text = rfc3339(now).encode("ascii")
        return self._text

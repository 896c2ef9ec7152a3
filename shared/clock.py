"""The one clock. All code takes the time from here, so that tests can set it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of the time."""

    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()


def utc(seconds: float) -> datetime:
    """Return the aware UTC datetime of `seconds` since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def rfc3339(seconds: float) -> str:
    """Format `seconds` since 1970 as RFC 3339 in UTC with milliseconds: `2026-12-01T12:00:00.250Z`.

    Rounds down, so that a printed time is never ahead of the true one.
    """
    whole, millis = divmod(int(seconds * 1000), 1000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def parse_rfc3339(text: str) -> float:
    """Return the seconds since 1970 of an RFC 3339 time with an offset or `Z`.

    Raises:
        ValueError: the text is no such time, or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset, for example Z")
    return moment.timestamp()

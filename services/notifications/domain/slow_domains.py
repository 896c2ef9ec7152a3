"""Domains that answer "not now": their mails wait, so that the others' do not."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

FIRST_HOLD: Final = timedelta(seconds=30)
LONGEST_HOLD: Final = timedelta(minutes=10)
REMEMBERED: Final = 10_000


class SlowDomains:
    """Which domains to leave alone for a while: doubling at each failure in a row, forgotten at the first success."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[datetime, timedelta]] = {}

    def held_until(self, domain: str, now: datetime) -> datetime | None:
        """Until when nothing goes to `domain`; None if it may go now."""
        until = self._held.get(domain, (now, FIRST_HOLD))[0]
        return until if until > now else None

    def failed(self, domain: str, now: datetime) -> None:
        """`domain` could not take a mail at `now`, for a reason that is not the mail's."""
        until, hold = self._held.pop(domain, (now, FIRST_HOLD / 2))
        if until > now:
            # Mails that were under way together are one failure.
            self._held[domain] = (until, hold)
            return
        hold = min(hold * 2, LONGEST_HOLD)
        if len(self._held) >= REMEMBERED:
            del self._held[next(iter(self._held))]
        self._held[domain] = (now + hold, hold)

    def succeeded(self, domain: str) -> None:
        """`domain` took a mail."""
        if self._held:
            self._held.pop(domain, None)

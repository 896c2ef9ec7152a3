"""Back-off for domains that answer "not now", so that mails to other domains do not wait for theirs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

FIRST_BACKOFF: Final = timedelta(seconds=30)
MAX_BACKOFF: Final = timedelta(minutes=10)
MAX_DOMAINS: Final = 10_000


class SlowDomains:
    """The domains to which no mail goes for a while: a back-off that doubles at each failure in a row and ends at the
    first success.
    """

    def __init__(self) -> None:
        self._backoffs: dict[str, tuple[datetime, timedelta]] = {}

    def deferred_until(self, domain: str, now: datetime) -> datetime | None:
        """Return until when no mail goes to `domain`, None if it may go now."""
        until = self._backoffs.get(domain, (now, FIRST_BACKOFF))[0]
        return until if until > now else None

    def record_failure(self, domain: str, now: datetime) -> None:
        """Note that `domain` took no mail at `now`, for a reason other than the mail itself."""
        until, backoff = self._backoffs.pop(domain, (now, FIRST_BACKOFF / 2))
        if until > now:
            # Mails that were under way at the same time count as one failure.
            self._backoffs[domain] = (until, backoff)
            return
        backoff = min(backoff * 2, MAX_BACKOFF)
        if len(self._backoffs) >= MAX_DOMAINS:
            del self._backoffs[next(iter(self._backoffs))]
        self._backoffs[domain] = (now + backoff, backoff)

    def record_success(self, domain: str) -> None:
        """Note that `domain` took a mail."""
        if self._backoffs:
            self._backoffs.pop(domain, None)

"""The daily quota: what a person sends to a case beyond the campaign's `letters_per_person` is held."""

from __future__ import annotations

from typing import Final

from services.letters.storage import person_days
from shared.counting.event_decoder import SubmissionRecord, decode_keyed_hash
from shared.counting.quotas import QuotaClaim

DAY_MS: Final = 24 * 60 * 60 * 1000


class DailyQuota:
    """Counts messages by person key and day of acceptance (UTC). The limit comes with each message."""

    load = staticmethod(person_days.load)
    write = staticmethod(person_days.write)

    def claim(self, submission: SubmissionRecord, accepted_ms: int) -> QuotaClaim | None:
        """The claim of a message."""
        if not submission.person:
            return None
        return QuotaClaim((decode_keyed_hash(submission.person), self.period(accepted_ms)), submission.daily_limit)

    def period(self, accepted_ms: int) -> int:
        """The day of acceptance, in whole days since 1970."""
        return accepted_ms // DAY_MS

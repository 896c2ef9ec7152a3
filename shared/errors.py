"""One error class per treatment: what to do with it, not where it came from."""

from __future__ import annotations


class MilleplumesError(Exception):
    """Base of the errors below. Messages never hold personal data."""


class TransientError(MilleplumesError):
    """May work later: retry with a back-off and an end; over HTTP 503 with Retry-After."""


class PermanentError(MilleplumesError):
    """Will never work: the record becomes a dead letter with `reason` (a short kebab-case word)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class HaltError(MilleplumesError):
    """Two truths disagree: stop this source partition, alarm, change nothing, skip nothing."""


class SetupError(MilleplumesError):
    """The surroundings are not as they must be: refuse to start and say how to mend it."""

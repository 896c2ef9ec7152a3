"""One error class per treatment: a class says how to handle an error, not its origin."""

from __future__ import annotations


class MilleplumesError(Exception):
    """Base of the errors below. Messages never contain personal data."""


class TransientError(MilleplumesError):
    """It may work later: retry with a back-off and a limit; over HTTP 503 with Retry-After."""


class PermanentError(MilleplumesError):
    """It will never work: the record becomes a dead letter with `reason` (a short kebab-case word)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class HaltError(MilleplumesError):
    """Two sources of truth disagree: stop this source partition, alarm, change nothing, skip nothing."""


class SetupError(MilleplumesError):
    """The environment is not as required: refuse to start, and say how to fix it."""

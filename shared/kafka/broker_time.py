"""An estimate of the broker's time, which is the time of acceptance."""

from __future__ import annotations

from typing import Final

from shared import metrics
from shared.clock import Clock
from shared.logging import log

MAX_DIFFERENCE_SECONDS: Final = 5.0
RESOLUTION_SECONDS: Final = 0.001
"""Kafka's timestamps are whole milliseconds."""


class BrokerTime:
    """An estimate of the broker's time: our clock, corrected by acknowledgements.

    An acknowledgement's append time lies between sending and acknowledgement, so each one bounds the difference
    between the clocks from both sides; the estimate moves only when it is outside those bounds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._difference = 0.0
        self._alarmed = False
        self.observed_at: float | None = None

    def now(self) -> float:
        """Return the estimated seconds since 1970 by the broker's clock."""
        return self._clock.now() + self._difference

    @property
    def has_estimate(self) -> bool:
        """Whether an acknowledgement has been observed; before that, a wrong clock of ours would go unnoticed."""
        return self.observed_at is not None

    @property
    def difference(self) -> float:
        """The broker's clock minus ours, in seconds."""
        return self._difference

    def local_now(self) -> float:
        """Return the seconds since 1970 by our own clock, as `observe` takes them."""
        return self._clock.now()

    def observe(self, *, sent: float, acknowledged: float, appended: float) -> None:
        """Correct the estimate: `sent` and `acknowledged` are by our clock, `appended` by the broker's."""
        lowest = appended - acknowledged
        highest = appended + RESOLUTION_SECONDS - sent
        self._difference = min(max(self._difference, lowest), highest)
        self.observed_at = acknowledged
        metrics.CLOCK_DIFFERENCE.set(self._difference)
        wrong = abs(self._difference) > MAX_DIFFERENCE_SECONDS
        if wrong != self._alarmed:
            self._alarmed = wrong
            report = log.error if wrong else log.info
            report("clock differs from the broker's" if wrong else "clock agrees again", seconds=self._difference)

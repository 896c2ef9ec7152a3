"""What tally batches add up to: cells, the course over time, and the public record of corrections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from shared.clock import parse_rfc3339
from shared.events.tallies import ActionsCounted, Delta

MINUTE_S: Final = 60
MINUTES_A_DAY: Final = 1440
POLICY_CHANGED: Final = "policy-changed"
"""The reason of corrections that an import made, not a tally batch."""


class Cell(NamedTuple):
    """A smallest thing that is counted."""

    campaign: str
    case: str
    section: str | None
    kind: str
    channel: str
    country: str
    language: str
    evidence: str


class Minute(NamedTuple):
    """What happened in one minute of acceptance, counted in whole minutes since 1970."""

    campaign: str
    minute: int
    case: str
    evidence: str


class CorrectionKey(NamedTuple):
    """Corrections of a day (whole days since 1970) with one reason are one public record."""

    campaign: str
    day: int
    reason: str
    evidence: str
    after_freeze: bool


@dataclass(slots=True)
class Change:
    """How far a cell moves. `withdrawn` is how many people took their action back."""

    count: int = 0
    withdrawn: int = 0


@dataclass(slots=True)
class CorrectionChange:
    """How far corrections move a total, and the last minute in which they did."""

    change: int = 0
    minute: int = 0


@dataclass(slots=True)
class Changes:
    """What to add to the stored sums."""

    cells: defaultdict[Cell, Change] = field(default_factory=lambda: defaultdict(Change))
    minutes: defaultdict[Minute, int] = field(default_factory=lambda: defaultdict(int))
    corrections: defaultdict[CorrectionKey, CorrectionChange] = field(
        default_factory=lambda: defaultdict(CorrectionChange)
    )

    @property
    def campaigns(self) -> set[str]:
        return {cell.campaign for cell in self.cells}

    @classmethod
    def of(cls, batches: Iterable[ActionsCounted], frozen: Collection[str]) -> Self:
        """The sum of all deltas in `batches`.

        In campaigns that are `frozen` every change is a correction, because neither the published total nor its course
        moves any more; so is everywhere what was told only when a person recovered it.
        """
        changes = cls()
        for batch in batches:
            told = batch.counted_at if batch.recovered else batch.accepted_until
            minute = int(parse_rfc3339(told)) // MINUTE_S
            for delta in batch.deltas:
                after_freeze = delta.campaign in frozen
                changes._move(delta, 1, after_freeze=after_freeze)
                if batch.recovered:
                    changes.correct(
                        delta.campaign, minute, delta.evidence, batch.recovered, delta.change, after_freeze=after_freeze
                    )
                else:
                    changes._record(delta, minute, after_freeze=after_freeze)
        return changes

    @classmethod
    def undoing(cls, batches: Iterable[ActionsCounted], frozen: Collection[str], minute: int) -> Self:
        """What takes `batches` back after their source was restored, with the public record of it at `minute`."""
        changes = cls()
        for batch in batches:
            for delta in batch.deltas:
                after_freeze = delta.campaign in frozen
                changes._move(delta, -1, after_freeze=after_freeze)
                changes.correct(
                    delta.campaign, minute, delta.evidence, "source-restored", -delta.change, after_freeze=after_freeze
                )
        return changes

    def _record(self, delta: Delta, minute: int, *, after_freeze: bool) -> None:
        corrections = {"invalidated": -delta.invalidated, "reinstated": delta.reinstated}
        if after_freeze:
            corrections["withdrawn-after-close"] = -delta.withdrawn
            corrections["counted-after-close"] = delta.change + delta.withdrawn + delta.invalidated - delta.reinstated
        for reason, change in corrections.items():
            self.correct(delta.campaign, minute, delta.evidence, reason, change, after_freeze=after_freeze)

    def _move(self, delta: Delta, sign: int, *, after_freeze: bool) -> None:
        cell = self.cells[
            Cell(
                delta.campaign,
                delta.case,
                delta.section,
                delta.kind,
                delta.channel,
                delta.country,
                delta.language,
                delta.evidence,
            )
        ]
        cell.count += sign * delta.change
        cell.withdrawn += sign * delta.withdrawn
        if not after_freeze:
            self.minutes[Minute(delta.campaign, delta.minute, delta.case, delta.evidence)] += sign * delta.change

    def correct(
        self, campaign: str, minute: int, evidence: str, reason: str, change: int, *, after_freeze: bool
    ) -> None:
        """Put a change made in `minute` on public record; `evidence` is empty where it is of no one class."""
        if not change:
            return
        entry = self.corrections[CorrectionKey(campaign, minute // MINUTES_A_DAY, reason, evidence, after_freeze)]
        entry.change += change
        entry.minute = max(entry.minute, minute)

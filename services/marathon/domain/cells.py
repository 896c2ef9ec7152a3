"""Sums of tally batches: cells, the history by minute, and the public record of corrections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from shared.clock import parse_rfc3339
from shared.events.tallies import ActionsCounted, Delta

MINUTE_S: Final = 60
MINUTES_PER_DAY: Final = 1440
POLICY_CHANGED: Final = "policy-changed"
"""The reason of corrections made by an import, not by a tally batch."""


class Cell(NamedTuple):
    """One combination of all dimensions; the totals are sums of cells."""

    campaign: str
    case: str
    section: str | None
    kind: str
    channel: str
    country: str
    language: str
    evidence: str


class MinuteKey(NamedTuple):
    """One minute of acceptance, in whole minutes since 1970, for one case and class of evidence."""

    campaign: str
    minute: int
    case: str
    evidence: str


class CorrectionKey(NamedTuple):
    """One entry of the public record: a day (whole days since 1970), reason and class of evidence."""

    campaign: str
    day: int
    reason: str
    evidence: str
    after_freeze: bool


@dataclass(slots=True)
class CellChange:
    """The change of a cell. `withdrawn` is the number of people who withdrew their action."""

    count: int = 0
    withdrawn: int = 0


@dataclass(slots=True)
class CorrectionChange:
    """The change of a total by corrections, and the minute of the last one."""

    change: int = 0
    minute: int = 0


@dataclass(slots=True)
class TotalsUpdate:
    """The changes to add to the stored sums."""

    cells: defaultdict[Cell, CellChange] = field(default_factory=lambda: defaultdict(CellChange))
    minutes: defaultdict[MinuteKey, int] = field(default_factory=lambda: defaultdict(int))
    corrections: defaultdict[CorrectionKey, CorrectionChange] = field(
        default_factory=lambda: defaultdict(CorrectionChange)
    )

    @property
    def campaigns(self) -> set[str]:
        return {cell.campaign for cell in self.cells}

    @classmethod
    def of(cls, batches: Iterable[ActionsCounted], frozen: Collection[str]) -> Self:
        """Return the sum of all deltas in `batches`.

        In `frozen` campaigns every change is a correction, because the published total and its history no longer
        change. Deltas of recovered batches are corrections in every campaign.
        """
        update = cls()
        for batch in batches:
            recorded_at = batch.counted_at if batch.recovered else batch.accepted_until
            minute = int(parse_rfc3339(recorded_at)) // MINUTE_S
            for delta in batch.deltas:
                after_freeze = delta.campaign in frozen
                update._add_delta(delta, 1, after_freeze=after_freeze)
                if batch.recovered:
                    update.add_correction(
                        delta.campaign, minute, delta.evidence, batch.recovered, delta.change, after_freeze=after_freeze
                    )
                else:
                    update._add_delta_corrections(delta, minute, after_freeze=after_freeze)
        return update

    @classmethod
    def reverting(cls, batches: Iterable[ActionsCounted], frozen: Collection[str], minute: int) -> Self:
        """Return the update that reverts `batches` after a restore of their source, with corrections at `minute`."""
        update = cls()
        for batch in batches:
            for delta in batch.deltas:
                after_freeze = delta.campaign in frozen
                update._add_delta(delta, -1, after_freeze=after_freeze)
                update.add_correction(
                    delta.campaign, minute, delta.evidence, "source-restored", -delta.change, after_freeze=after_freeze
                )
        return update

    def _add_delta_corrections(self, delta: Delta, minute: int, *, after_freeze: bool) -> None:
        corrections = {"invalidated": -delta.invalidated, "reinstated": delta.reinstated}
        if after_freeze:
            corrections["withdrawn-after-close"] = -delta.withdrawn
            corrections["counted-after-close"] = delta.change + delta.withdrawn + delta.invalidated - delta.reinstated
        for reason, change in corrections.items():
            self.add_correction(delta.campaign, minute, delta.evidence, reason, change, after_freeze=after_freeze)

    def _add_delta(self, delta: Delta, sign: int, *, after_freeze: bool) -> None:
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
            self.minutes[MinuteKey(delta.campaign, delta.minute, delta.case, delta.evidence)] += sign * delta.change

    def add_correction(
        self, campaign: str, minute: int, evidence: str, reason: str, change: int, *, after_freeze: bool
    ) -> None:
        """Add a correction made in `minute`; `evidence` is empty if it concerns no single class."""
        if not change:
            return
        entry = self.corrections[CorrectionKey(campaign, minute // MINUTES_PER_DAY, reason, evidence, after_freeze)]
        entry.change += change
        entry.minute = max(entry.minute, minute)

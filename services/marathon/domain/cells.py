"""Sums of tally batches: cells, the history by day and by minute, and the public record of corrections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self, get_args

from shared.clock import parse_rfc3339
from shared.events.tallies import ActionsCounted, Delta
from shared.events.values import RecoveryReason

MINUTE_S: Final = 60
MINUTES_PER_DAY: Final = 1440
POLICY_CHANGED: Final = "policy-changed"
"""The reason of corrections made by an import, not by a tally batch."""
OWN_REASONS: Final = frozenset(
    {POLICY_CHANGED, "source-restored", "withdrawn-after-close", "counted-after-close", *get_args(RecoveryReason)}
)
"""The reasons that marathon gives itself: a delta cannot claim one of them."""


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


class DayKey(NamedTuple):
    """One day of acceptance, in whole days since 1970 (UTC), and one combination of all dimensions."""

    day: int
    cell: Cell


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
    """The change of a cell. `withdrawn` is the number of people who withdrew their action, `held` that of actions that
    wait for a decision.
    """

    count: int = 0
    withdrawn: int = 0
    held: int = 0

    def add(self, delta: Delta, sign: int) -> None:
        """Add the changes of `delta`, or take them off where `sign` is -1."""
        self.count += sign * delta.change
        self.withdrawn += sign * delta.withdrawn
        self.held += sign * delta.held


@dataclass(slots=True)
class CorrectionChange:
    """The change of a total by corrections, and the minute of the last one."""

    change: int = 0
    minute: int = 0


@dataclass(slots=True)
class TotalsUpdate:
    """The changes to add to the stored sums."""

    cells: defaultdict[Cell, CellChange] = field(default_factory=lambda: defaultdict(CellChange))
    days: defaultdict[DayKey, CellChange] = field(default_factory=lambda: defaultdict(CellChange))
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
        word = "" if delta.reason in OWN_REASONS else delta.reason
        corrections = [(word or "invalidated", -delta.invalidated), (word or "reinstated", delta.reinstated)]
        if after_freeze:
            counted = delta.change + delta.withdrawn + delta.invalidated - delta.reinstated
            corrections += [("withdrawn-after-close", -delta.withdrawn), ("counted-after-close", counted)]
        for reason, change in corrections:
            self.add_correction(delta.campaign, minute, delta.evidence, reason, change, after_freeze=after_freeze)

    def _add_delta(self, delta: Delta, sign: int, *, after_freeze: bool) -> None:
        cell = Cell(*(getattr(delta, name) for name in Cell._fields))
        self.cells[cell].add(delta, sign)
        if not after_freeze:
            self.days[DayKey(delta.minute // MINUTES_PER_DAY, cell)].add(delta, sign)
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

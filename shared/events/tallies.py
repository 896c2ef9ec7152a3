"""Tally batches: what one service tells another that it has counted. Counts only, no personal data."""

from __future__ import annotations

import msgspec

from shared.events.actions import Dimensions
from shared.events.words import Evidence, Recovered


class Delta(Dimensions, frozen=True, kw_only=True):
    """A change of one cell. `minute` is the minute of acceptance, in whole minutes since 1970, by the broker's clock.

    `change` is what to add; `withdrawn` how much of the decrease people took back themselves, `invalidated` and
    `reinstated` how many moves an integrity decision made.
    """

    evidence: Evidence
    minute: int
    change: int
    withdrawn: int = 0
    invalidated: int = 0
    reinstated: int = 0


class ActionsCounted(msgspec.Struct, frozen=True, kw_only=True):
    """One tally batch: what counting offsets `first` to `next - 1` of `source`/`partition` changed.

    `source` is the topic counted. `epoch` rises when the source's database was restored. A batch of many cells
    travels as `part` (from 0) of `parts` with equal `first` and `next`. `counted_at` is the counter's clock,
    `accepted_until` the broker's time of the last record covered, both RFC 3339. `recovered` says that nobody counted
    this range just now: a person declared it, because records or tally batches were lost for ever.
    """

    source: str
    epoch: int
    partition: int
    first: int
    next: int
    part: int
    parts: int
    counted_at: str
    accepted_until: str
    deltas: list[Delta]
    recovered: Recovered | None = None

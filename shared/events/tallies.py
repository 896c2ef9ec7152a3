"""Tally batches, by which one service reports its counts to another. Counts only, no personal data."""

from __future__ import annotations

import msgspec

from shared.events.actions import Dimensions
from shared.events.values import Evidence, RecoveryReason


class Delta(Dimensions, frozen=True, kw_only=True):
    """A change of one cell. `minute` is the minute of acceptance, in whole minutes since 1970, by the broker's clock.

    `change` is the number to add; `withdrawn` is the part of the decrease that people withdrew themselves;
    `invalidated` and `reinstated` count the changes that an integrity decision made. `held` is how many more actions
    wait for a decision, uncounted; `reason` is the word for an invalidation or reinstatement on the public record,
    where it has one of its own. Both exist from 1.1 on.
    """

    evidence: Evidence
    minute: int
    change: int
    withdrawn: int = 0
    invalidated: int = 0
    reinstated: int = 0
    held: int = 0
    reason: str = ""


class ActionsCounted(msgspec.Struct, frozen=True, kw_only=True):
    """One tally batch: the changes from counting offsets `first` to `next - 1` of `source`/`partition`.

    `source` is the counted topic. `epoch` rises when the source's database was restored. A batch of many cells
    travels as `part` (from 0) of `parts` with equal `first` and `next`. `counted_at` is the counter's clock,
    `accepted_until` the broker's time of the last record covered, both RFC 3339. `recovered` marks a range that was not
    counted just now: a person declared it, because records or tally batches were lost for ever.
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
    recovered: RecoveryReason | None = None

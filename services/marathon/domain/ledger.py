"""The ledger of tally batches: which batch may be added, which is a repeat, and when a source must halt.

```
                       first == next of the last row
  part 0 .. parts-2  ------------------------------>  waits beside the ledger
  last part          ------------------------------>  one row, totals move
  next <= stored, same content ------------------->  repeat: nothing
  higher epoch, first at the end of a row --------->  rows from `first` on are dropped, then as above
  anything else ----------------------------------->  the source partition halts
```

Source: "Totals: a sum of ranges" in the design of counting. Each row holds the hash of the row before it, so that no
row can be changed, left out or put in without changing every later hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from shared.clock import parse_rfc3339
from shared.events.tallies import ActionsCounted, Delta
from shared.events.words import LONGEST_WORD

GENESIS: Final = bytes(32)
"""What the first row of a source partition holds as the hash of the row before it."""
LARGEST_INTEGER: Final = 2**31 - 1
"""The largest partition, minute and change that the tables hold."""
LARGEST_OFFSET: Final = 2**63 - 1


class SourcePartition(NamedTuple):
    """One partition of a counted topic; its tally batches form one chain."""

    source: str
    partition: int

    def __str__(self) -> str:
        return f"{self.source}/{self.partition}"


@dataclass(frozen=True, slots=True)
class Part:
    """A tally batch, or a part of one, as it stood on its topic at `offset`; `value` are its very bytes."""

    offset: int
    batch: ActionsCounted
    value: bytes
    digest: bytes

    @classmethod
    def of(cls, offset: int, batch: ActionsCounted, value: bytes) -> Part:
        """The part with the SHA-256 of its bytes as its digest."""
        return cls(offset, batch, value, hashlib.sha256(value).digest())

    @property
    def place(self) -> SourcePartition:
        return SourcePartition(self.batch.source, self.batch.partition)


@dataclass(frozen=True, slots=True)
class Row:
    """One complete tally batch as the ledger keeps it. `change` is what all its deltas together add."""

    place: SourcePartition
    epoch: int
    first: int
    next: int
    digests: tuple[bytes, ...]
    values: tuple[bytes, ...]
    accepted_until: str
    change: int
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """Where one source partition stands.

    `waiting` are the parts, in order, of the batch that begins at `next` and is not complete. `read` is the offset, on
    the tally topic, of the last part dealt with. `halted` says why nothing more is added.
    """

    epoch: int = 0
    next: int = 0
    hash: bytes = GENESIS
    accepted_until: str | None = None
    waiting: tuple[Part, ...] = ()
    read: int = -1
    halted: str | None = None


class KnownRow(NamedTuple):
    """What must be known of a stored row to recognise a repeat."""

    next: int
    digests: tuple[bytes, ...]


RowKey = tuple[SourcePartition, int, int]
"""Source partition, epoch and first offset of a row."""


@dataclass(frozen=True, slots=True)
class Restore:
    """A source's database was restored: its rows from offset `first` on no longer hold."""

    place: SourcePartition
    epoch: int
    first: int


@dataclass(slots=True)
class Outcome:
    """What `fold` found.

    `rows` are new, in order, with their deltas in `batches`; `heads` are the new heads of every place that was touched.
    `halts` are the places that halted now, with the offset of the part that made them. `taken` parts were dealt with;
    where `restore` is set, it must be carried out before the part after those.
    """

    heads: dict[SourcePartition, Head]
    rows: list[Row] = field(default_factory=list)
    batches: list[ActionsCounted] = field(default_factory=list)
    halts: dict[SourcePartition, int] = field(default_factory=dict)
    repeats: int = 0
    taken: int = 0
    restore: Restore | None = None


def row_hash(
    place: SourcePartition, *, epoch: int, first: int, next_: int, digests: Iterable[bytes], previous: bytes
) -> bytes:
    """SHA-256 of a row: its place and range, the digests of its parts, and the hash of the row before it.

    The text hashed is `source/partition`, `epoch`, `first`, `next`, the digests in hex joined by commas and the
    previous hash in hex, each on a line of its own, so that anybody can recompute it.
    """
    lines = (str(place), epoch, first, next_, ",".join(digest.hex() for digest in digests), previous.hex())
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).digest()


def fold(heads: Mapping[SourcePartition, Head], known: Mapping[RowKey, KnownRow], parts: Iterable[Part]) -> Outcome:
    """Go through `parts` in the order of their topic.

    `heads` holds every place that occurs and already has one; `known` the stored rows that a part may repeat.
    Stops before a part that asks for a restore.
    """
    outcome = Outcome(dict(heads))
    seen = dict(known)
    for part in parts:
        head = outcome.heads.get(part.place, Head())
        if head.halted is None:
            if (problem := nonsense(part.batch)) is not None:
                _halt(outcome, head, part, problem)
            elif _asks_for_restore(head, part.batch):
                outcome.restore = Restore(part.place, part.batch.epoch, part.batch.first)
                return outcome
            else:
                _take(outcome, seen, head, part)
        outcome.taken += 1
    return outcome


def _take(outcome: Outcome, seen: dict[RowKey, KnownRow], head: Head, part: Part) -> None:
    batch = part.batch
    if batch.epoch < head.epoch or batch.next <= head.next:
        dropped = batch.epoch < head.epoch and part.offset <= head.read
        if dropped or _is_repeat(seen.get((part.place, batch.epoch, batch.first)), part):
            outcome.repeats += 1
        else:
            _halt(outcome, head, part, "not what was counted there before")
    elif batch.first != head.next:
        _halt(outcome, head, part, "a gap" if batch.first > head.next else "an overlap")
    else:
        _extend(outcome, seen, head, part)


def _extend(outcome: Outcome, seen: dict[RowKey, KnownRow], head: Head, part: Part) -> None:
    batch = part.batch
    if batch.part < len(head.waiting):
        if head.waiting[batch.part].digest == part.digest:
            outcome.repeats += 1
        else:
            _halt(outcome, head, part, "a part that came before with other content")
        return
    if batch.part > len(head.waiting) or any(not _belong_together(other.batch, batch) for other in head.waiting):
        _halt(outcome, head, part, "parts that do not belong together")
        return
    parts = (*head.waiting, part)
    if len(parts) < batch.parts:
        outcome.heads[part.place] = replace(head, waiting=parts, read=part.offset)
        return
    row = _row(head, parts)
    outcome.rows.append(row)
    outcome.batches.extend(each.batch for each in parts)
    seen[part.place, row.epoch, row.first] = KnownRow(row.next, row.digests)
    outcome.heads[part.place] = Head(row.epoch, row.next, row.hash, row.accepted_until, read=part.offset)


def _row(head: Head, parts: tuple[Part, ...]) -> Row:
    batch = parts[-1].batch
    digests = tuple(part.digest for part in parts)
    return Row(
        place=parts[-1].place,
        epoch=batch.epoch,
        first=batch.first,
        next=batch.next,
        digests=digests,
        values=tuple(part.value for part in parts),
        accepted_until=batch.accepted_until,
        change=sum(delta.change for part in parts for delta in part.batch.deltas),
        previous_hash=head.hash,
        hash=row_hash(
            parts[-1].place,
            epoch=batch.epoch,
            first=batch.first,
            next_=batch.next,
            digests=digests,
            previous=head.hash,
        ),
    )


def _asks_for_restore(head: Head, batch: ActionsCounted) -> bool:
    drops = batch.first < head.next or (batch.first == head.next and bool(head.waiting))
    return batch.epoch > head.epoch and drops


def is_place(batch: ActionsCounted) -> bool:
    """Whether a source partition can have the name by which `batch` calls its own."""
    return 0 <= batch.partition <= LARGEST_INTEGER and "\0" not in batch.source


def nonsense(batch: ActionsCounted) -> str | None:
    """What of `batch` nobody could add or store, whoever tried again."""
    if not 0 <= batch.first < batch.next <= LARGEST_OFFSET:
        return "a range that is none"
    if not 0 <= batch.part < batch.parts <= LARGEST_INTEGER or not 0 <= batch.epoch <= LARGEST_INTEGER:
        return "a part that is none"
    if not (_is_time(batch.counted_at) and _is_time(batch.accepted_until)):
        return "a time that is none"
    if not all(map(_is_change, batch.deltas)):
        return "a change that is none"
    return None


def _is_time(text: str) -> bool:
    try:
        return 0 <= parse_rfc3339(text) // 60 <= LARGEST_INTEGER
    except (ValueError, OverflowError):
        return False


def _is_change(delta: Delta) -> bool:
    numbers = (delta.change, delta.withdrawn, delta.invalidated, delta.reinstated)
    texts = (delta.campaign, delta.case, delta.section or "", delta.country, delta.language)
    return (
        0 <= delta.minute <= LARGEST_INTEGER
        and all(abs(number) <= LARGEST_INTEGER for number in numbers)
        and not any("\0" in text or len(text) > LONGEST_WORD for text in texts)
    )


def _belong_together(one: ActionsCounted, other: ActionsCounted) -> bool:
    return (one.epoch, one.next, one.parts) == (other.epoch, other.next, other.parts)


def _is_repeat(known: KnownRow | None, part: Part) -> bool:
    return (
        known is not None
        and known.next == part.batch.next
        and len(known.digests) == part.batch.parts
        and known.digests[part.batch.part] == part.digest
    )


def _halt(outcome: Outcome, head: Head, part: Part, why: str) -> None:
    outcome.heads[part.place] = replace(head, halted=why)
    outcome.halts[part.place] = part.offset

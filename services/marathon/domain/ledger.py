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
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from shared.clock import parse_rfc3339
from shared.events.tallies import ActionsCounted, Delta
from shared.events.values import MAX_VALUE_CHARACTERS

GENESIS_HASH: Final = bytes(32)
"""The previous hash of the first row of a source partition."""
MAX_INTEGER: Final = 2**31 - 1
"""The largest partition, minute and change that the tables can store."""
MAX_OFFSET: Final = 2**63 - 1


class SourcePartition(NamedTuple):
    """One partition of a counted topic; its tally batches form one chain."""

    source: str
    partition: int

    def __str__(self) -> str:
        return f"{self.source}/{self.partition}"


@dataclass(frozen=True, slots=True)
class Part:
    """A tally batch, or a part of one, at `offset` of its topic; `value` are the bytes of the record."""

    offset: int
    batch: ActionsCounted
    value: bytes
    digest: bytes

    @classmethod
    def of(cls, offset: int, batch: ActionsCounted, value: bytes) -> Part:
        """Return the part with the SHA-256 of its bytes as its digest."""
        return cls(offset, batch, value, hashlib.sha256(value).digest())

    @property
    def source(self) -> SourcePartition:
        return SourcePartition(self.batch.source, self.batch.partition)


class Row(NamedTuple):
    """A complete tally batch in the ledger; all fields but `source` are columns. `change` is the sum of its deltas."""

    source: SourcePartition
    epoch: int
    first: int
    next: int
    digests: tuple[bytes, ...]
    values: tuple[bytes, ...]
    accepted_until: str
    change: int
    salt: bytes
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The head of one source partition's chain.

    `pending` are the parts, in order, of the incomplete batch that begins at `next`. `tally_offset` is the offset, on
    the tally topic, of the last part that was processed. `halt_reason` is set if the partition is halted.
    """

    epoch: int = 0
    next: int = 0
    hash: bytes = GENESIS_HASH
    accepted_until: str | None = None
    pending: tuple[Part, ...] = ()
    tally_offset: int = -1
    halt_reason: str | None = None


class StoredRow(NamedTuple):
    """The fields of a stored row that identify a repeat."""

    next: int
    digests: tuple[bytes, ...]


RowKey = tuple[SourcePartition, int, int]
"""Source partition, epoch and first offset of a row."""


@dataclass(frozen=True, slots=True)
class Restore:
    """The database of a source was restored: its rows from offset `first` on are no longer valid."""

    source: SourcePartition
    epoch: int
    first: int


@dataclass(slots=True)
class Outcome:
    """The result of `fold`.

    `rows` are new, in order, with their deltas in `batches`; `heads` are the given heads with the changes.
    `halt_offsets` are the source partitions that halted now, with the offset of the part that halted them. `processed`
    is the number of parts processed; if `restore` is set, it must be carried out before the next part.
    """

    heads: dict[SourcePartition, ChainHead]
    ledger_key: bytes = field(repr=False)
    rows: list[Row] = field(default_factory=list)
    batches: list[ActionsCounted] = field(default_factory=list)
    halt_offsets: dict[SourcePartition, int] = field(default_factory=dict)
    repeats: int = 0
    processed: int = 0
    restore: Restore | None = None


def row_salt(key: bytes, source: SourcePartition, *, epoch: int, first: int) -> bytes:
    """Return the salt of a row: the HMAC-SHA-256, by the secret ledger `key`, of what names the row.

    Few counts are possible for a row, so a hash without a salt would give its content away. A restored ledger gets the
    same salts. Source: "Privacy" in the design of breadth.
    """
    return hmac.digest(key, f"{source.source}|{source.partition}|{epoch}|{first}".encode(), "sha256")


def row_hash(row: Row) -> bytes:
    """Return the SHA-256 of `row`: its source and range, the digests of its parts, its salt, and the hash of the row
    before it.

    The text hashed is `source/partition`, `epoch`, `first`, `next`, the digests in hex joined by commas, the salt and
    the previous hash in hex, each on a line of its own, so that whoever has the salt can recompute it.
    """
    digests = ",".join(digest.hex() for digest in row.digests)
    lines = (str(row.source), row.epoch, row.first, row.next, digests, row.salt.hex(), row.previous_hash.hex())
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).digest()


def fold(
    heads: Mapping[SourcePartition, ChainHead],
    stored_rows: Mapping[RowKey, StoredRow],
    parts: Iterable[Part],
    ledger_key: bytes,
) -> Outcome:
    """Fold `parts`, in the order of their topic, into `heads`.

    `heads` has the head of every source partition among them that has one; `stored_rows` are the rows that a part may
    repeat. New rows are salted by `ledger_key`. Stops before a part that requires a restore.
    """
    outcome = Outcome(dict(heads), ledger_key)
    rows = dict(stored_rows)
    for part in parts:
        head = outcome.heads.get(part.source, ChainHead())
        if head.halt_reason is None:
            if (reason := invalid_reason(part.batch)) is not None:
                _halt(outcome, head, part, reason)
            elif _requires_restore(head, part.batch):
                outcome.restore = Restore(part.source, part.batch.epoch, part.batch.first)
                return outcome
            else:
                _apply_part(outcome, rows, head, part)
        outcome.processed += 1
    return outcome


def _apply_part(outcome: Outcome, stored_rows: dict[RowKey, StoredRow], head: ChainHead, part: Part) -> None:
    batch = part.batch
    if batch.epoch < head.epoch or batch.next <= head.next:
        dropped = batch.epoch < head.epoch and part.offset <= head.tally_offset
        if dropped or _is_repeat(stored_rows.get((part.source, batch.epoch, batch.first)), part):
            outcome.repeats += 1
        else:
            _halt(outcome, head, part, "not what was counted there before")
    elif batch.first != head.next:
        _halt(outcome, head, part, "a gap" if batch.first > head.next else "an overlap")
    else:
        _append_part(outcome, stored_rows, head, part)


def _append_part(outcome: Outcome, stored_rows: dict[RowKey, StoredRow], head: ChainHead, part: Part) -> None:
    batch = part.batch
    if batch.part < len(head.pending):
        if head.pending[batch.part].digest == part.digest:
            outcome.repeats += 1
        else:
            _halt(outcome, head, part, "a part that came before with other content")
        return
    if batch.part > len(head.pending) or any(not _in_same_batch(other.batch, batch) for other in head.pending):
        _halt(outcome, head, part, "parts that do not belong together")
        return
    parts = (*head.pending, part)
    if len(parts) < batch.parts:
        outcome.heads[part.source] = replace(head, pending=parts, tally_offset=part.offset)
        return
    row = _row(head, parts, outcome.ledger_key)
    outcome.rows.append(row)
    outcome.batches.extend(each.batch for each in parts)
    stored_rows[part.source, row.epoch, row.first] = StoredRow(row.next, row.digests)
    outcome.heads[part.source] = ChainHead(row.epoch, row.next, row.hash, row.accepted_until, tally_offset=part.offset)


def _row(head: ChainHead, parts: tuple[Part, ...], ledger_key: bytes) -> Row:
    source, batch = parts[-1].source, parts[-1].batch
    row = Row(
        source=source,
        epoch=batch.epoch,
        first=batch.first,
        next=batch.next,
        digests=tuple(part.digest for part in parts),
        values=tuple(part.value for part in parts),
        accepted_until=batch.accepted_until,
        change=sum(delta.change for part in parts for delta in part.batch.deltas),
        salt=row_salt(ledger_key, source, epoch=batch.epoch, first=batch.first),
        previous_hash=head.hash,
        hash=b"",
    )
    return row._replace(hash=row_hash(row))


def _requires_restore(head: ChainHead, batch: ActionsCounted) -> bool:
    drops = batch.first < head.next or (batch.first == head.next and bool(head.pending))
    return batch.epoch > head.epoch and drops


def has_valid_source(batch: ActionsCounted) -> bool:
    """Whether the source and partition that `batch` names can exist."""
    return 0 <= batch.partition <= MAX_INTEGER and "\0" not in batch.source


def invalid_reason(batch: ActionsCounted) -> str | None:
    """Return why `batch` can never be added or stored; None if it can."""
    if not 0 <= batch.first < batch.next <= MAX_OFFSET:
        return "a range that is none"
    if not 0 <= batch.part < batch.parts <= MAX_INTEGER or not 0 <= batch.epoch <= MAX_INTEGER:
        return "a part that is none"
    if not (_is_valid_time(batch.counted_at) and _is_valid_time(batch.accepted_until)):
        return "a time that is none"
    if not all(map(_is_valid_delta, batch.deltas)):
        return "a change that is none"
    return None


def _is_valid_time(text: str) -> bool:
    try:
        return 0 <= parse_rfc3339(text) // 60 <= MAX_INTEGER
    except (ValueError, OverflowError):
        return False


def _is_valid_delta(delta: Delta) -> bool:
    numbers = (delta.change, delta.withdrawn, delta.invalidated, delta.reinstated, delta.held)
    texts = (delta.campaign, delta.case, delta.section or "", delta.country, delta.language, delta.reason)
    return (
        0 <= delta.minute <= MAX_INTEGER
        and all(abs(number) <= MAX_INTEGER for number in numbers)
        and not any("\0" in text or len(text) > MAX_VALUE_CHARACTERS for text in texts)
    )


def _in_same_batch(part: ActionsCounted, other: ActionsCounted) -> bool:
    return (part.epoch, part.next, part.parts) == (other.epoch, other.next, other.parts)


def _is_repeat(stored: StoredRow | None, part: Part) -> bool:
    return (
        stored is not None
        and stored.next == part.batch.next
        and len(stored.digests) == part.batch.parts
        and stored.digests[part.batch.part] == part.digest
    )


def _halt(outcome: Outcome, head: ChainHead, part: Part, reason: str) -> None:
    outcome.heads[part.source] = replace(head, halt_reason=reason)
    outcome.halt_offsets[part.source] = part.offset

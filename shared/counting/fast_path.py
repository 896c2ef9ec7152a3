"""The usual record, a plain submission of a key that no other record of the batch names: read and packed in one go.

Nearly all records are of this kind, and their cost is what counting costs. Whatever is unusual in any way is left to
`Reader`, which reads it step by step and says what is wrong with it.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from typing import Final

import msgspec

from shared.counting.batch_plan import BatchPlan, Cell
from shared.counting.copy_format import cell_part, new_row, own_part, place_part, sort_part
from shared.counting.event_decoder import (
    DIGEST_BYTES,
    KEY_BYTES,
    LARGEST_VALUE,
    NUL,
    URL_SAFE,
    EventDecoder,
    SubmissionRecord,
)
from shared.kafka.records import Record

MAX_PARTS: Final = 20_000
"""So many packed parts are remembered at most."""

_Sort = tuple[int, int, int, bool, bool, str]


class FastPath:
    """Takes the usual records of one topic, whose name in UTF-8 is `topic`."""

    def __init__(self, reading: EventDecoder, topic: bytes) -> None:
        self._is_usual = reading.is_plain_submission
        self._decode = msgspec.json.Decoder(SubmissionRecord).decode
        self._topic = topic
        self._sorts: dict[_Sort, bytes] = {}
        self._cells: dict[Cell, bytes] = {}

    def take(self, partition: int, records: Iterable[Record], work: BatchPlan) -> list[Record]:
        """Put the usual ones of `records` into `work`, and return the others."""
        singles, shared, ids = work.singles, work.shared, work.ids
        others = []
        place, placed_ms, minute = b"", -1, 0
        for record in records:
            offset, accepted_ms, key, value, packed = record
            if (
                key is None or value is None or len(key) != KEY_BYTES or len(value) > LARGEST_VALUE or NUL in value
                or key in singles or key in shared or not self._is_usual(packed)
            ):  # fmt: skip
                others.append(record)
                continue
            try:
                said = self._decode(value)
                digest = binascii.a2b_base64(said.digest.encode().translate(URL_SAFE) + b"==")
            except (ValueError, RecursionError, msgspec.MsgspecError):
                others.append(record)
                continue
            dimensions = ids.get((
                said.campaign, said.case, said.subject, said.section,
                said.kind, said.channel, said.country, said.language,
            ))  # fmt: skip
            if dimensions is None or len(digest) != DIGEST_BYTES or said.person:
                others.append(record)
                continue
            if accepted_ms != placed_ms:
                place, placed_ms, minute = place_part(partition, accepted_ms), accepted_ms, accepted_ms // 60_000
            cell = (partition, dimensions, said.state, minute)
            singles[key] = len(work.records)
            work.records.append((partition, record))
            work.cells.append(cell)
            work.rows.append(new_row(self._cells.get(cell) or self._cell(cell), offset, digest, key))
            work.kept.append(b"".join((place, self._sort(dimensions, said), *own_part(offset, key, digest, said))))
            if said.public_name and said.confirmed_at:
                work.named[key] = digest
        return others

    def _cell(self, cell: Cell) -> bytes:
        partition, dimensions, state, minute = cell
        if len(self._cells) > MAX_PARTS:
            self._cells.clear()
        packed = self._cells[cell] = cell_part(dimensions, minute, partition, state)
        return packed

    def _sort(self, dimensions: int, said: SubmissionRecord) -> bytes:
        sort = (dimensions, said.seal_key, said.petition_version, said.public_name, said.updates, said.locale)
        packed = self._sorts.get(sort)
        if packed is None:
            if len(self._sorts) > MAX_PARTS:
                self._sorts.clear()
            packed = self._sorts[sort] = sort_part(self._topic, dimensions, said, further=False)
        return packed

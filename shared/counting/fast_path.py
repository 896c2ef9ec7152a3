"""Decodes and packs plain submissions in one loop: those of a key that no other record of the batches names.

Nearly all records are of this kind, so their cost is the cost of counting. All others are left to `BatchDecoder`, which
decodes them step by step and finds the reason where one cannot be counted.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from shared.counting.batch_plan import BatchPlan, Cell, TrackedSubmission
from shared.counting.copy_format import (
    pack_row,
    pack_row_prefix,
    pack_submission_attributes,
    pack_submission_prefix,
    pack_submission_suffix,
)
from shared.counting.event_decoder import (
    BASE64URL_TO_BASE64,
    DIGEST_BYTES,
    ESCAPED_NUL,
    KEY_BYTES,
    MAX_VALUE_BYTES,
    EventDecoder,
    SubmissionRecord,
)
from shared.counting.projections import Projection
from shared.kafka.records import Record

MAX_CACHED_PARTS: Final = 20_000
"""How many packed parts each cache may hold."""

_Attributes = tuple[int, int, int, bool, bool, str]
"""Dimensions, seal key, petition version, public name, updates, locale."""


class FastPath:
    """Plans the plain submissions of one topic, whose name in UTF-8 is `topic`, for it and for `projections`."""

    def __init__(self, event_decoder: EventDecoder, topic: bytes, projections: Sequence[Projection] = ()) -> None:
        self._is_plain = event_decoder.is_plain_submission
        self._decode = msgspec.json.Decoder(SubmissionRecord).decode
        self._topic = topic
        self._select_opened = [each.selects for each in projections if "opened" in each.kinds]
        self._select_confirmed = [each.selects for each in projections if {"opened", "confirmed"} & set(each.kinds)]
        self._packed_attributes: dict[_Attributes, bytes] = {}
        self._packed_prefixes: dict[Cell, bytes] = {}

    def add_plain_records(self, partition: int, records: Iterable[Record], plan: BatchPlan) -> list[Record]:
        """Add the plain submissions among `records` to `plan`, and return the other records."""
        fast_keys, slow_keys, ids = plan.fast_keys, plan.slow_keys, plan.ids
        select_opened, select_confirmed = self._select_opened, self._select_confirmed
        others = []
        prefix, prefix_ms, minute = b"", -1, 0
        for record in records:
            offset, accepted_ms, key, value, packed_headers = record
            if (
                key is None or value is None or len(key) != KEY_BYTES or len(value) > MAX_VALUE_BYTES
                or ESCAPED_NUL in value or key in fast_keys or key in slow_keys or not self._is_plain(packed_headers)
            ):  # fmt: skip
                others.append(record)
                continue
            try:
                submission = self._decode(value)
                digest = binascii.a2b_base64(submission.digest.encode().translate(BASE64URL_TO_BASE64) + b"==")
            except (ValueError, RecursionError, msgspec.MsgspecError):
                others.append(record)
                continue
            dimensions = ids.get((
                submission.campaign, submission.case, submission.subject, submission.section,
                submission.kind, submission.channel, submission.country, submission.language,
            ))  # fmt: skip
            if (
                dimensions is None or len(digest) != DIGEST_BYTES
                or submission.person or submission.held or submission.acted_at is not None
            ):  # fmt: skip
                others.append(record)
                continue
            if accepted_ms != prefix_ms:
                prefix = pack_submission_prefix(partition, accepted_ms)
                prefix_ms, minute = accepted_ms, accepted_ms // 60_000
            cell = (partition, dimensions, submission.state, minute)
            fast_keys[key] = len(plan.fast_records)
            plan.fast_records.append((partition, record))
            plan.cells.append(cell)
            row_prefix = self._packed_prefixes.get(cell) or self._pack_prefix(cell)
            plan.new_rows.append(pack_row(row_prefix, offset, digest, key))
            attributes = self._pack_attributes(dimensions, submission)
            suffix = pack_submission_suffix(offset, key, digest, submission)
            plan.submission_rows.append(b"".join((prefix, attributes, *suffix)))
            for selects in select_opened if submission.confirmed_at is None else select_confirmed:
                if selects(submission):
                    plan.tracked[key] = TrackedSubmission(partition, offset, digest, submission)
        return others

    def _pack_prefix(self, cell: Cell) -> bytes:
        partition, dimensions, state, minute = cell
        if len(self._packed_prefixes) > MAX_CACHED_PARTS:
            self._packed_prefixes.clear()
        packed = self._packed_prefixes[cell] = pack_row_prefix(dimensions, minute, partition, state)
        return packed

    def _pack_attributes(self, dimensions: int, submission: SubmissionRecord) -> bytes:
        attributes = (
            dimensions,
            submission.seal_key,
            submission.petition_version,
            submission.public_name,
            submission.updates,
            submission.locale,
        )
        packed = self._packed_attributes.get(attributes)
        if packed is None:
            if len(self._packed_attributes) > MAX_CACHED_PARTS:
                self._packed_attributes.clear()
            packed = pack_submission_attributes(self._topic, dimensions, submission, further=False)
            self._packed_attributes[attributes] = packed
        return packed

"""The usual record, read in one go, comes to the same as read step by step; the unusual is read step by step."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.petitions.consumers import SIGNATURES
from shared.counting.batch_decoder import BatchDecoder
from shared.counting.batch_plan import BatchPlan
from shared.counting.copy_format import cell_part, new_row
from shared.counting.dimension_ids import Combination, Ids
from shared.counting.transitions import Submitted
from shared.events.cloudevents import Envelope
from shared.kafka.records import PartitionBatch, Record
from tests.support.counting import digest_of, key_of, signature

NOW = 1_795_168_800_000
ENVELOPE = Envelope("signature-submitted", source="/tests")


class Numbers:
    """Numbers for combinations, in the order in which they come."""

    def __init__(self) -> None:
        self.ids: Ids = {}

    def clear_if_full(self) -> None:
        pass

    async def ensure(self, combinations: Collection[Combination]) -> None:
        for one in combinations:
            self.ids[one] = len(self.ids)


def packed(headers: Sequence[tuple[str, bytes]]) -> bytes:
    parts = [bytes([len(headers) << 1])]
    for name, value in headers:
        parts += [bytes([len(name) << 1]), name.encode(), bytes([len(value) << 1]), value]
    return b"".join(parts)


def record(offset: int, key: bytes | None, value: bytes | None, *more: tuple[str, bytes]) -> Record:
    headers = [*ENVELOPE.headers(b"2026-11-20T10:00:00.000Z"), *more]
    return Record(offset, NOW + offset, key, value, packed(headers))


def work_of(*records: Record) -> tuple[BatchDecoder, BatchPlan]:
    reader = BatchDecoder(SIGNATURES, Numbers())
    # The first record of a process teaches how its headers begin.
    first = record(0, key_of("first"), msgspec.json.encode(signature("first")))
    work = asyncio.run(reader.plan([PartitionBatch("t", 3, 0, [first, first, *records])]))
    work.special = [said for said in work.special if said.record is not first]
    return reader, work


mangled: dict[str, st.SearchStrategy[Any]] = {
    "country": st.sampled_from(["FR", "Ü", "\u0000", 7, None, "x" * 300]),
    "section": st.sampled_from([None, "amnesty-fr", 1]),
    "kind": st.sampled_from(["signature", "nonsense"]),
    "digest": st.sampled_from([digest_of("a"), digest_of("a") + "==", "short", "ü", "", "*" * 22]),
    "sealed": st.sampled_from(["", base64.b64encode(b"x" * 300).decode(), "not base64!"]),
    "seal_key": st.sampled_from([0, 1, 32_767, 32_768, -1, "1"]),
    "petition_version": st.sampled_from([0, 3, 2**40]),
    "evidence": st.sampled_from(["recorded", "confirmed", "self_reported", "offline"]),
    "confirmed_at": st.sampled_from([None, "2026-11-20T09:00:00Z", 5]),
    "public_name": st.booleans(),
    "network": st.sampled_from(["", "QZRBTav0jbU", "é" * 100, "x" * 201]),
    "locale": st.sampled_from(["fr", "zh-Hant", ""]),
    "person": st.sampled_from(["", digest_of("a"), "nonsense"]),
}


@given(st.fixed_dictionaries({}, optional=mangled))
def test_what_is_taken_in_one_go_is_packed_as_it_is_step_by_step(changes: dict[str, Any]) -> None:
    key = key_of("ana")
    value = msgspec.json.encode(msgspec.to_builtins(signature("ana")) | changes)
    reader, work = work_of(record(5, key, value))
    said = reader.decode(3, record(5, key, value)._replace(packed_headers=packed(ENVELOPE.headers(b""))))
    if said.refusal:
        assert work.singles == {}
        assert [one.refusal for one in work.special] == [said.refusal]
        return
    if changes.get("person"):
        assert work.singles == {}
        return
    assert list(work.singles) == [key]
    place = work.singles[key]
    arrived = reader.to_input(said, work.ids)
    event = arrived.event
    assert isinstance(event, Submitted)
    assert work.cells[place] == (3, event.dimensions, event.state, event.minute)
    cell = cell_part(event.dimensions, event.minute, 3, event.state)
    assert work.rows[place] == new_row(cell, 5, event.digest.to_bytes(8, "big", signed=True), key)
    assert work.kept[place] == reader.submission_row(said, work.ids, further=False)
    assert (key in work.named) == bool(changes.get("public_name") and changes.get("confirmed_at"))


@given(st.binary(max_size=60))
def test_what_is_no_submission_is_never_taken_in_one_go(value: bytes) -> None:
    _, work = work_of(record(5, key_of("ana"), value))
    assert work.singles == {}


def test_a_key_that_two_records_name_is_left_to_the_fold_in_order() -> None:
    ana, value = key_of("ana"), msgspec.json.encode(signature("ana"))
    _, work = work_of(record(5, ana, value), record(6, key_of("bea"), value), record(7, ana, b"broken"))
    assert list(work.singles) == [key_of("bea")]
    assert [(one.record.offset, one.refusal) for one in work.special] == [(5, ""), (7, "unreadable")]
    assert sum(1 for row in work.rows if row) == 1


def test_a_redriven_submission_is_left_to_the_fold() -> None:
    origin = f"{SIGNATURES.topic.name}/3/1".encode()
    _, work = work_of(record(5, key_of("ana"), msgspec.json.encode(signature("ana")), ("ce_origin", origin)))
    assert work.singles == {}
    assert [one.origin and one.origin.offset for one in work.special] == [1]


def test_all_of_a_topic_with_a_daily_limit_is_left_to_the_fold() -> None:
    from services.letters.consumers import MESSAGES

    reader = BatchDecoder(MESSAGES, Numbers())
    records = [record(n, key_of(str(n)), msgspec.json.encode(signature(str(n)))) for n in range(3)]
    work = asyncio.run(reader.plan([PartitionBatch("t", 0, 0, records)]))
    assert (len(work.singles), len(work.special)) == (0, 3)

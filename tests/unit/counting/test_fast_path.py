"""The fast path gives the same rows as the step-by-step decoder, and leaves all other records to it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.petitions.consumers.counted import SIGNATURES
from shared.counting.batch_decoder import BatchDecoder
from shared.counting.batch_plan import BatchPlan
from shared.counting.copy_format import pack_row, pack_row_prefix
from shared.counting.dimension_ids import Combination, IdByCombination
from shared.counting.transitions import Submitted
from shared.events.cloudevents import Envelope
from shared.kafka.records import PartitionBatch, Record
from tests.support.counting import digest_of, key_of, signature

NOW = 1_795_168_800_000
ENVELOPE = Envelope("signature-submitted", source="/tests")


class SequentialIds:
    """Assigns ids to combinations in the order in which they come."""

    def __init__(self) -> None:
        self.ids: IdByCombination = {}

    def clear_if_full(self) -> None:
        pass

    async def ensure(self, combinations: Collection[Combination]) -> None:
        for combination in combinations:
            self.ids[combination] = len(self.ids)


def packed(headers: Sequence[tuple[str, bytes]]) -> bytes:
    parts = [bytes([len(headers) << 1])]
    for name, value in headers:
        parts += [bytes([len(name) << 1]), name.encode(), bytes([len(value) << 1]), value]
    return b"".join(parts)


def record(offset: int, key: bytes | None, value: bytes | None, *extra: tuple[str, bytes]) -> Record:
    headers = [*ENVELOPE.headers(b"2026-11-20T10:00:00.000Z"), *extra]
    return Record(offset, NOW + offset, key, value, packed(headers))


def plan_records(*records: Record) -> tuple[BatchDecoder, BatchPlan]:
    decoder = BatchDecoder(SIGNATURES, SequentialIds())
    # The first record of a process teaches the decoder the beginning of its headers.
    first = record(0, key_of("first"), msgspec.json.encode(signature("first")))
    plan = asyncio.run(decoder.plan([PartitionBatch("t", 3, 0, [first, first, *records])]))
    plan.slow_records = [decoded for decoded in plan.slow_records if decoded.record is not first]
    return decoder, plan


FIELD_VALUES: dict[str, st.SearchStrategy[Any]] = {
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
    "held": st.sampled_from(["", "quota", "robot", "rule", "for-fun"]),
    "channel": st.sampled_from(["web", "import"]),
    "acted_at": st.sampled_from([None, "2025-12-24T18:00:00Z", "yesterday", 7]),
}


@given(st.fixed_dictionaries({}, optional=FIELD_VALUES))
def test_what_is_taken_in_one_go_is_packed_as_it_is_step_by_step(changes: dict[str, Any]) -> None:
    key = key_of("ana")
    value = msgspec.json.encode(msgspec.to_builtins(signature("ana")) | changes)
    decoder, plan = plan_records(record(5, key, value))
    decoded = decoder.event_decoder.decode(
        3, record(5, key, value)._replace(packed_headers=packed(ENVELOPE.headers(b"")))
    )
    if decoded.refusal:
        assert plan.fast_keys == {}
        assert [slow.refusal for slow in plan.slow_records] == [decoded.refusal]
        return
    if changes.get("person") or changes.get("held") or changes.get("acted_at"):
        assert plan.fast_keys == {}
        return
    assert list(plan.fast_keys) == [key]
    index = plan.fast_keys[key]
    record_input = decoder.to_input(decoded, plan.ids)
    event = record_input.event
    assert isinstance(event, Submitted)
    assert plan.cells[index] == (3, event.dimensions, event.state, event.minute)
    cell = pack_row_prefix(event.dimensions, event.minute, 3, event.state)
    assert plan.new_rows[index] == pack_row(cell, 5, event.digest.to_bytes(8, "big", signed=True), key)
    assert plan.submission_rows[index] == decoder.pack_submission(decoded, plan.ids, further=False)
    assert (key in plan.tracked) == bool(changes.get("public_name") and changes.get("confirmed_at"))


@given(st.binary(max_size=60))
def test_what_is_no_submission_is_never_taken_in_one_go(value: bytes) -> None:
    _, plan = plan_records(record(5, key_of("ana"), value))
    assert plan.fast_keys == {}


def test_a_key_that_two_records_name_is_left_to_the_fold_in_order() -> None:
    ana, value = key_of("ana"), msgspec.json.encode(signature("ana"))
    _, plan = plan_records(record(5, ana, value), record(6, key_of("bea"), value), record(7, ana, b"broken"))
    assert list(plan.fast_keys) == [key_of("bea")]
    assert [(slow.record.offset, slow.refusal) for slow in plan.slow_records] == [(5, ""), (7, "unreadable")]
    assert sum(1 for row in plan.new_rows if row) == 1


def test_a_redriven_submission_is_left_to_the_fold() -> None:
    origin = f"{SIGNATURES.topic.name}/3/1".encode()
    _, plan = plan_records(record(5, key_of("ana"), msgspec.json.encode(signature("ana")), ("ce_origin", origin)))
    assert plan.fast_keys == {}
    assert [slow.origin and slow.origin.offset for slow in plan.slow_records] == [1]


def test_all_of_a_topic_with_a_daily_limit_is_left_to_the_fold() -> None:
    from services.letters.consumers.counted import MESSAGES

    decoder = BatchDecoder(MESSAGES, SequentialIds())
    records = [record(n, key_of(str(n)), msgspec.json.encode(signature(str(n)))) for n in range(3)]
    plan = asyncio.run(decoder.plan([PartitionBatch("t", 0, 0, records)]))
    assert (len(plan.fast_keys), len(plan.slow_records)) == (0, 3)

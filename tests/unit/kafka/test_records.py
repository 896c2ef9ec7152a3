"""Reading fetched record batches, against aiokafka's own reader."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import HaltError, TransientError
from shared.kafka.records import read_records

optional_bytes = st.one_of(
    st.none(), st.binary(max_size=20), st.sampled_from([63, 64, 127, 128, 8191, 8192, 9000]).map(bytes)
)
headers = st.lists(st.tuples(st.text(max_size=80), optional_bytes), max_size=9)
raw_records = st.tuples(st.integers(0, 2**40), optional_bytes, optional_bytes, headers)


def batch(
    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]],
    *,
    codec: int = 0,
    transactional: int = 0,
) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=transactional,
        producer_id=1,
        producer_epoch=1,
        base_sequence=0,
        batch_size=100_000_000,
    )
    for offset, (timestamp, key, value, record_headers) in enumerate(records):
        builder.append(offset, timestamp=timestamp, key=key, value=value, headers=record_headers)
    return bytes(builder.build())


@given(st.lists(raw_records, min_size=1, max_size=40), st.sampled_from([0, 1, 2, 3, 4]))
def test_every_record_is_read_as_aiokafka_reads_it(
    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]], codec: int
) -> None:
    raw = batch(records, codec=codec)
    expected: list[Any] = list(MemoryRecords(raw).next_batch() or [])
    read = read_records(raw, 0)
    assert [record[:4] for record in read] == [
        (record.offset, record.timestamp, record.key, record.value) for record in expected
    ]
    assert [record.headers for record in read] == [
        [(name, value or b"") for name, value in record.headers] for record in expected
    ]


def test_only_whole_batches_and_only_records_from_the_offset_on_are_read() -> None:
    raw = batch([(1, b"k", b"v", [])] * 5)
    assert [record.offset for record in read_records(raw + raw[:-1], 3)] == [3, 4]
    assert read_records(raw[:30], 0) == []


def test_the_brokers_time_is_taken_where_the_topic_says_so() -> None:
    raw = bytearray(batch([(1000, b"k", b"v", []), (1007, b"k", b"v", [])]))
    raw[22] |= 0x08
    raw[35:43] = (1_795_168_800_123).to_bytes(8, "big")
    raw[17:21] = _crc(bytes(raw[21:])).to_bytes(4, "big")
    assert [record.timestamp_ms for record in read_records(bytes(raw), 0)] == [1_795_168_800_123] * 2


def test_a_damaged_batch_is_to_be_fetched_again() -> None:
    raw = bytearray(batch([(1, b"k", b"v", [])]))
    raw[-3] ^= 1
    with pytest.raises(TransientError):
        read_records(bytes(raw), 0)


def test_a_transaction_halts() -> None:
    with pytest.raises(HaltError):
        read_records(batch([(1, b"k", b"v", [])], transactional=1), 0)


def _crc(content: bytes) -> int:
    from aiokafka.record.util import calc_crc32c

    return int(calc_crc32c(content))

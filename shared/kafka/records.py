"""Records as the loops hand them on, and how they are read from the bytes of a fetch.

The layout is Kafka's record batch of version 2, https://kafka.apache.org/documentation/#recordbatch. Reading it here,
without unpacking headers that nobody asks for, takes a fifth of what aiokafka's records take.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.record.util import calc_crc32c

from shared.errors import HaltError, TransientError

_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, checksum, attributes, last offset delta, first and largest timestamp,
producer, its epoch, first sequence, count."""
_LENGTH_END: Final = 12
"""The length counts from here."""
_CHECKED_FROM: Final = 21
_MAGIC: Final = 2
_CODEC: Final = 0x07
_APPEND_TIME: Final = 0x08
_TRANSACTION: Final = 0x30
_DECODERS: Final[dict[int, Callable[[bytes], bytes]]] = {
    1: gzip_decode,
    2: snappy_decode,
    3: lz4_decode,
    4: zstd_decode,
}
_MORE: Final = 0x80
"""The bit of a byte that says that the number goes on in the next one."""


class Record(NamedTuple):
    """One Kafka record. `timestamp_ms` is the broker's time where the topic says so."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    packed_headers: bytes
    """As they stand in the log: their number, then each with its lengths."""

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """The headers, in their order. A header without a value has an empty one."""
        packed = self.packed_headers
        count, at = _number(packed, 0)
        found = []
        for _ in range(count):
            name, at = _bytes(packed, at)
            value, at = _bytes(packed, at)
            found.append(((name or b"").decode("utf-8", "replace"), value or b""))
        return found


class PartitionBatch(NamedTuple):
    """Consecutive records of one partition, ascending; never empty. `epoch` is that of the partition's position."""

    topic: str
    partition: int
    epoch: int
    records: Sequence[Record]

    @property
    def first(self) -> int:
        """The offset of the first record."""
        return self.records[0].offset

    @property
    def next(self) -> int:
        """The offset behind the last record."""
        return self.records[-1].offset + 1


def read_records(fetched: bytes, first: int) -> list[Record]:
    """The whole records in `fetched` from offset `first` on; a batch that was cut off at the end is left.

    Raises:
        TransientError: a batch was damaged on the way; fetch it again.
        HaltError: a transaction wrote here, or a format that we do not know: it cannot be one of ours.
    """
    return [record for batch in _batches(fetched) for record in batch if record.offset >= first]


def _batches(fetched: bytes) -> Iterator[list[Record]]:
    at = 0
    while at + _HEAD.size <= len(fetched):
        base, length, _, magic, checksum, attributes, _, since, largest, _, _, _, count = _HEAD.unpack_from(fetched, at)
        start, at = at, at + _LENGTH_END + length
        if at > len(fetched):
            return
        if magic != _MAGIC or attributes & _TRANSACTION:
            raise HaltError(f"the batch at {base} is of a transaction or an old format")
        checked = memoryview(fetched)[start + _CHECKED_FROM : at]
        if calc_crc32c(checked) != checksum:  # type: ignore[arg-type]  # any buffer will do
            raise TransientError("a record batch was damaged on the way")
        codec = attributes & _CODEC
        content, begin = (fetched, start + _HEAD.size)
        if codec:
            content, begin = _DECODERS[codec](fetched[begin:at]), 0
        yield _unpack(content, begin, count, base, (None if attributes & _APPEND_TIME else since, largest))


def _unpack(content: bytes, at: int, count: int, base: int, times: tuple[int | None, int]) -> list[Record]:
    """The `count` records that begin at `at`. Numbers of one or two bytes, nearly all of them, are read in place.

    `times` are what their times count from, None where the broker gave all of them one time, and that time.
    """
    records = []
    since, appended = times
    new = tuple.__new__
    for _ in range(count):
        low = content[at]
        high = content[at + 1]
        if low < _MORE:
            length, at = low >> 1, at + 1
        elif high < _MORE:
            length, at = ((low & 0x7F) | (high << 7)) >> 1, at + 2
        else:
            length, at = _number(content, at)
        end = at + length
        later, at = (content[at + 1] >> 1, at + 2) if not content[at + 1] & 0x81 else _number(content, at + 1)
        low = content[at]
        high = content[at + 1]
        if low < _MORE:
            place, at = low >> 1, at + 1
        elif high < _MORE:
            place, at = ((low & 0x7F) | (high << 7)) >> 1, at + 2
        else:
            place, at = _number(content, at)
        key, at = (content[at + 1 : at + 17], at + 17) if content[at] == 0x20 else _bytes(content, at)  # noqa: PLR2004
        low = content[at]
        high = content[at + 1]
        if low >= _MORE > high and not low & 1:
            begin = at + 2
            at = begin + (((low & 0x7F) | (high << 7)) >> 1)
            value: bytes | None = content[begin:at]
        else:
            value, at = _bytes(content, at)
        time = appended if since is None else since + later
        records.append(new(Record, (base + place, time, key, value, content[at:end])))
        at = end
    return records


def _number(content: bytes, at: int) -> tuple[int, int]:
    """The zigzag-coded number at `at`, and where the next thing begins."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < _MORE:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


def _bytes(content: bytes, at: int) -> tuple[bytes | None, int]:
    """The bytes with their length before them at `at` (None: a length of -1), and where the next thing begins."""
    length, at = _number(content, at)
    if length < 0:
        return None, at
    return content[at : at + length], at + length

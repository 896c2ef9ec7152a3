"""Which partition a key belongs to."""

from __future__ import annotations

import os
from collections import Counter

from shared.kafka.partitions import partition_of


def test_a_key_keeps_its_partition_for_ever() -> None:
    assert [partition_of(bytes([n]) * 16, 48) for n in range(5)] == [0, 17, 34, 3, 20]
    assert partition_of(bytes(7) + b"\x05" + bytes(8), 4) == 1


def test_keys_are_spread_evenly() -> None:
    counts = Counter(partition_of(os.urandom(16), 4) for _ in range(20_000))
    assert set(counts) == {0, 1, 2, 3}
    assert min(counts.values()) > 4_500

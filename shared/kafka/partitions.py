"""The one function from key to partition. Every producer uses it and passes the partition explicitly."""

from __future__ import annotations


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition, 0 to `partitions - 1`, of a record whose `key` is a keyed hash of at least 8 bytes.

    The key is already uniform, so its first bytes are used directly. A change here, or of a topic's partition count,
    would separate a person's events; hence neither ever changes.
    """
    return int.from_bytes(key[:8], "big") % partitions

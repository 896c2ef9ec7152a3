"""References to records. Pure, so that the rules of services may name records without knowing a broker."""

from __future__ import annotations

from typing import NamedTuple


class RecordRef(NamedTuple):
    """The position of one record in Kafka."""

    topic: str
    partition: int
    offset: int

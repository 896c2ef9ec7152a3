"""Acts as mails speak of them."""

from __future__ import annotations

from dataclasses import dataclass

from shared.events.words import Kind
from shared.kafka.record_ref import RecordRef
from shared.privacy.sealing import Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One act that a mail is about, opened.

    `record` made its delivery; `at` is the broker's time of that, in seconds since 1970.
    """

    record: RecordRef
    campaign: str
    case: str
    subject: str
    kind: Kind
    key: bytes
    digest: bytes
    other_data: bool
    at: float
    person: Person

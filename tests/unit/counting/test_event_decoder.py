"""The one decoder of counted topics: the counter and notifications refuse the same records."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.counting.event_decoder import DecodedRecord, EventDecoder
from shared.events.cloudevents import Envelope
from shared.kafka.records import Record, pack_headers
from shared.topics import SIGNATURES
from tests.support.counting import digest_of, key_of, signature

SIGNED = msgspec.to_builtins(signature("ana"))
DECIDED = {"digest": digest_of("ana"), "decision": 1, "reason": "robot"}


def decode(event_type: str, event: dict[str, Any]) -> DecodedRecord:
    headers = Envelope(event_type, source="/tests").headers(b"2026-11-20T10:00:00.000Z")
    record = Record(5, 1_795_168_800_000, key_of("ana"), msgspec.json.encode(event), pack_headers(headers))
    return EventDecoder(SIGNATURES).decode(3, record)


@pytest.mark.parametrize(
    ("event_type", "event"),
    [
        ("signature-submitted", SIGNED),
        ("signature-confirmed", {"digest": digest_of("ana")}),
        ("signature-withdrawn", {}),
        ("signature-invalidated", DECIDED),
        ("signature-released", {**DECIDED, "reason": ""}),
    ],
)
def test_a_whole_event_is_not_refused(event_type: str, event: dict[str, Any]) -> None:
    assert decode(event_type, event).refusal == ""


@pytest.mark.parametrize(
    ("event_type", "event"),
    [
        ("signature-submitted", {**SIGNED, "digest": "short"}),
        ("signature-submitted", {**SIGNED, "person": "short"}),
        ("signature-submitted", {**SIGNED, "acted_at": "2025-12-24T18:00:00Z"}),
        ("signature-confirmed", {}),
        ("signature-confirmed", {"digest": "short"}),
        ("signature-invalidated", {**DECIDED, "digest": ""}),
        ("signature-invalidated", {**DECIDED, "decision": 0}),
        ("signature-invalidated", {**DECIDED, "reason": "Ana asked for it"}),
    ],
)
def test_an_event_that_lacks_what_its_type_needs_is_refused(event_type: str, event: dict[str, Any]) -> None:
    assert decode(event_type, event).refusal == "invalid"


def test_an_unknown_event_of_a_known_topic_is_refused() -> None:
    assert decode("signature-approved", {}).refusal == "unknown-type"

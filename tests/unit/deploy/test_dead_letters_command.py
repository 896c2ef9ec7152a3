"""The output of `mille dlq`."""

from __future__ import annotations

import pytest

from deploy.local.endpoints import Endpoints
from deploy.mille import dlq
from deploy.recovery.counted_topics import COUNTED_TOPICS
from deploy.recovery.dead_letter_lines import describe
from deploy.recovery.dead_letters import APPLIED, NO_RECORD, WAITING, FoundLetter
from shared.kafka.records import Record, pack_headers
from shared.kafka.redrive import DeadLetterRecord

TOPIC = COUNTED_TOPICS[0].topic
TIME = "2026-12-01T12:00:00.000Z"


def letter(reason: str, offset: int = 0, record: Record = NO_RECORD) -> DeadLetterRecord:
    return DeadLetterRecord("petitions.count-signatures", 0, offset, offset, reason, TIME, TIME, False, record)


def test_a_reason_that_looks_like_markup_is_printed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = [
        FoundLetter(TOPIC, letter(reason, offset), WAITING if offset else APPLIED)
        for offset, reason in enumerate(("[red]odd", "[/]closed", "[/]closed"))
    ]

    async def read_letters(_at: Endpoints, *_: object, **__: object) -> list[FoundLetter]:
        return letters

    monkeypatch.setattr(dlq, "read_letters", read_letters)
    monkeypatch.setattr(dlq, "read_endpoints", dict)
    dlq.list_letters(topic=TOPIC.name)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [TOPIC.name, "[red]odd", "1", "1", "0"] in lines
    assert [TOPIC.name, "[/]closed", "2", "0", "2", "0/1,", "0/2"] in lines


def test_nothing_that_a_stranger_wrote_into_a_record_is_shown() -> None:
    secret = b"ana@example.org"
    headers: list[tuple[str, bytes | None]] = [
        ("ce_type", b"signature-submitted"),
        ("ce_source", secret),
        ("ce_dataversion", b"1.0\x1b[2J"),
        ("ce_id", secret),
        (secret.decode(), b"a value"),
        ("dlq_reason", b"invalid"),
    ]
    record = Record(3, 0, secret, secret, pack_headers(headers))
    text = "\n".join(describe(FoundLetter(TOPIC, letter("invalid", 3, record), WAITING)))
    assert text.splitlines()[0] == f"{TOPIC.name}/0/3"
    assert "ce_type: signature-submitted" in text
    assert text.count("15 bytes") == 4
    assert "ana" not in text
    assert "\x1b" not in text

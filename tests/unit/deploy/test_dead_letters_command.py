"""The output of `mille dlq list`."""

from __future__ import annotations

import pytest

from deploy.mille import dlq
from shared.kafka.redrive import DeadLetterRecord


def test_a_reason_that_looks_like_markup_is_printed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = [
        (
            DeadLetterRecord("", 0, offset, offset, reason, "2026-12-01T12:00:00Z", False, dlq.NO_RECORD),
            offset == 0,
        )
        for offset, reason in enumerate(("[red]odd", "[/]closed", "[/]closed"))
    ]

    async def read_letters(*_: object) -> list[tuple[DeadLetterRecord, bool]]:
        return letters

    monkeypatch.setattr(dlq, "_read_letters", read_letters)
    dlq.list_letters(topic=dlq.COUNTED_TOPICS[0].topic.name)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [dlq.COUNTED_TOPICS[0].topic.name, "[red]odd", "1", "1", "0"] in lines
    assert [dlq.COUNTED_TOPICS[0].topic.name, "[/]closed", "2", "0", "2"] in lines

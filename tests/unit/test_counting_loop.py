"""What a loop does about surroundings that fail it."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError

from shared.errors import TransientError
from shared.kafka import loop


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PAUSE_S", 0.0)


async def test_a_loop_waits_for_a_broker_that_is_away_for_long() -> None:
    answers = iter([KafkaConnectionError()] * 50)

    async def attempt() -> None:
        for error in answers:
            raise error

    await loop._wait_out(attempt)


async def test_a_loop_gives_its_process_up_where_kafka_takes_requests_and_never_answers() -> None:
    asked = []

    async def attempt() -> None:
        asked.append(1)
        raise KafkaTimeoutError

    with pytest.raises(TransientError):
        await loop._wait_out(attempt)
    assert len(asked) == loop.UNANSWERED

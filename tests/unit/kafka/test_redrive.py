"""Putting dead letters back where Kafka takes nothing."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import TransientError
from shared.kafka import redrive
from tests.support.silent_server import run_silent_server


async def test_a_broker_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrive, "TIMEOUT_S", 0.5)
    async with run_silent_server() as address:
        with pytest.raises(TransientError, match="redrive them again later"):
            async with asyncio.timeout(60):
                await redrive.redrive(address, "petitions.signatures.v1", [])

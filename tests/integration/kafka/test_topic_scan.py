"""Reading a topic from its start to its present end."""

from __future__ import annotations

import asyncio

import pytest

from deploy.local.endpoints import Endpoints
from shared.errors import SetupError, TransientError
from shared.kafka import topic_scan
from shared.kafka.topic_scan import open_scan
from tests.support.silent_server import run_silent_server


async def test_a_topic_that_does_not_exist_is_named_and_not_waited_for(platform: Endpoints) -> None:
    with pytest.raises(SetupError, match="Kafka has no topic none\\.such"):
        async with open_scan(platform["kafka"], "none.such"):
            raise AssertionError("it does not open")


async def test_a_broker_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_scan, "OPEN_TIMEOUT_S", 0.5)
    async with run_silent_server() as address:
        with pytest.raises(TransientError, match="does not answer about petitions"):
            async with asyncio.timeout(30), open_scan(address, "petitions.signatures.v1"):
                raise AssertionError("it does not open")

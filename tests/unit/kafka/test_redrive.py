"""Putting dead letters back where Kafka takes nothing."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import TransientError
from shared.kafka import redrive


async def test_a_broker_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrive, "TIMEOUT_S", 0.5)
    ended = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(TransientError, match="redrive them again later"):
            async with asyncio.timeout(60):
                await redrive.redrive(f"{host}:{port}", "petitions.signatures.v1", [])
        await asyncio.wait_for(ended.wait(), 60)

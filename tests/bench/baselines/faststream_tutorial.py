"""Baseline: FastAPI and FastStream as their tutorials have them: a publish per request, a handler and a transaction per
message.

`uvicorn tests.bench.baselines.faststream_tutorial:web` takes, `python -m tests.bench.baselines.faststream_tutorial`
counts; KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL say where. FastStream logs two lines for each message unless QUIET is
set. As it comes, it commits what it has read from time to time, whether handled or not; with ACKED it commits after
each message, so that none is lost when it dies.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import uvloop
from fastapi import FastAPI
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from pydantic import BaseModel

from tests.bench.baselines.signature import TOPIC, Signature, seal
from tests.bench.baselines.table import insert

CONNECTIONS = 4
POLICY = AckPolicy.ACK if os.environ.get("ACKED") else AckPolicy.ACK_FIRST
QUIETLY: dict[str, Any] = {"logger": None} if os.environ.get("QUIET") else {}

broker = KafkaBroker(
    os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
    acks="all",
    enable_idempotence=True,
    **QUIETLY,
)


class SignatureSubmitted(BaseModel):
    key: str
    petition: str
    country: str
    locale: str
    sealed: str


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    await broker.connect()
    yield
    await broker.stop()


web = FastAPI(lifespan=lifespan)


@web.post("/v1/signatures", status_code=202)
async def sign(signature: Signature) -> dict[str, str]:
    kept = seal(signature)
    event = SignatureSubmitted(
        key=kept.key.hex(),
        petition=signature.petition,
        country=signature.country,
        locale=signature.locale,
        sealed=kept.sealed,
    )
    await broker.publish(event, topic=TOPIC, key=kept.key)
    return {"receipt": uuid.uuid4().hex, "status": "accepted"}


async def count() -> None:
    """Turn messages into rows until stopped."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=CONNECTIONS) as pool:

        @broker.subscriber(TOPIC, group_id="bench", auto_offset_reset="earliest", ack_policy=POLICY)
        async def store(event: SignatureSubmitted) -> None:
            async with pool.acquire() as connection:
                key = bytes.fromhex(event.key)
                await insert(connection, (key, event.petition, event.country, event.locale, event.sealed))

        await FastStream(broker).run()


if __name__ == "__main__":
    uvloop.run(count())

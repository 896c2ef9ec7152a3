"""Baseline: FastStream's own integration with FastAPI, as its documentation has it: one process takes and counts.

`uvicorn tests.bench.baselines.faststream_in_fastapi:web`; KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL say where.
Source: https://faststream.ag2.ai/latest/getting-started/integrations/fastapi/.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI
from faststream.kafka.fastapi import KafkaRouter

from tests.bench.baselines.faststream_tutorial import CONNECTIONS, SignatureSubmitted
from tests.bench.baselines.signature import TOPIC, Signature, seal
from tests.bench.baselines.table import insert

router = KafkaRouter(os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"), acks="all", enable_idempotence=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=CONNECTIONS) as pool:
        app.state.pool = pool
        yield


web = FastAPI(lifespan=lifespan)


@router.subscriber(TOPIC, group_id="bench", auto_offset_reset="earliest")
async def store(event: SignatureSubmitted) -> None:
    async with web.state.pool.acquire() as connection:
        await insert(connection, (bytes.fromhex(event.key), event.petition, event.country, event.locale, event.sealed))


@router.post("/v1/signatures", status_code=202)
async def sign(signature: Signature) -> dict[str, str]:
    kept = seal(signature)
    event = SignatureSubmitted(
        key=kept.key.hex(),
        petition=signature.petition,
        country=signature.country,
        locale=signature.locale,
        sealed=kept.sealed,
    )
    await router.broker.publish(event, topic=TOPIC, key=kept.key)
    return {"receipt": uuid.uuid4().hex, "status": "accepted"}


web.include_router(router)

"""Baseline: FastAPI and asyncpg, a transaction for each request.

`uvicorn tests.bench.baselines.fastapi_asyncpg:app`; DATABASE_URL names its database.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request

from tests.bench.baselines.signature import Signature, seal
from tests.bench.baselines.table import insert

CONNECTIONS = 20


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/signatures", status_code=202)
async def sign(signature: Signature, request: Request) -> dict[str, str]:
    kept = seal(signature)
    async with request.app.state.pool.acquire() as connection:
        await insert(connection, (kept.key, signature.petition, signature.country, signature.locale, kept.sealed))
    return {"receipt": uuid.uuid4().hex, "status": "accepted"}

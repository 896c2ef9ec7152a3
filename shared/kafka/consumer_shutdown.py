"""Stops a consumer in bounded time and closes all its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from shared.logging import log
from shared.outages import KAFKA_OUTAGES

STOP_TIMEOUT_S: Final = 30.0
CLOSE_TIMEOUT_S: Final = 5.0


async def start_whole(start: Coroutine[Any, Any, None]) -> None:
    """Await `start`, which starts a consumer; a caller that is cancelled meanwhile ends after it, in bounded time.

    aiokafka leaves the connection open by which it looks for the brokers, if it is cancelled at that moment.
    """
    task = asyncio.create_task(start, name="start-consumer")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_S)
        task.cancel()
        if task.done() and not task.cancelled():
            task.exception()
        raise


async def shut_down(consumer: AIOKafkaConsumer, stop: Coroutine[Any, Any, None]) -> None:
    """Await `stop`, which stops `consumer`, and close the consumer's connections whatever its outcome.

    `stop` runs as a task of its own: aiokafka raises the cancellation of a fetch that had just failed, which would look
    like a cancellation of the caller, and leaves its connections open.
    """
    task = asyncio.create_task(stop, name="stop-consumer")
    try:
        await asyncio.wait({task}, timeout=STOP_TIMEOUT_S)
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_S)
        with suppress(*KAFKA_OUTAGES):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await consumer._client.close()  # noqa: SLF001  a second time does no harm
    failure = None if not task.done() or task.cancelled() else task.exception()
    if failure is not None:
        log.warning("a consumer did not stop by itself", failure=type(failure).__name__)

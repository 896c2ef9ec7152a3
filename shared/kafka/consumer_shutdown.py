"""Lets go of a consumer, in bounded time and to the last connection."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from shared.logging import log

STOP_S: Final = 30.0
CLOSE_S: Final = 5.0


async def leave(consumer: AIOKafkaConsumer, stop: Coroutine[Any, Any, None]) -> None:
    """Carry out `stop`, which stops `consumer`. Whatever comes of it, nothing of the consumer is left.

    It runs as a task of its own: aiokafka lets out the cancellation of a fetch that had just failed, which would pass
    for that of whoever stops it, and leaves its connections open.
    """
    task = asyncio.create_task(stop, name="stop-consumer")
    try:
        await asyncio.wait({task}, timeout=STOP_S)
    finally:
        # One that is done is not touched by it.
        task.cancel()
        await asyncio.wait({task}, timeout=CLOSE_S)
        with suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await consumer._client.close()  # noqa: SLF001  a second time does no harm
    failure = None if not task.done() or task.cancelled() else task.exception()
    if failure is not None:
        log.warning("a consumer did not stop by itself", failure=type(failure).__name__)

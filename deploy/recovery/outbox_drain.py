"""Send the pending records of an outbox, even while the service that wrote them is not running."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from shared.database import connected, create_pool
from shared.errors import TransientError
from shared.kafka.outbox import OutboxRelay
from shared.tasks import Tasks

TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.1
_LAST: Final = "SELECT max(id) FROM outbox"
_PENDING: Final = "SELECT EXISTS (SELECT FROM outbox WHERE id <= $1)"


async def drain(url: str, bootstrap_servers: str, service: str) -> None:
    """Wait until the present records of the outbox of `service` have left it, by its own relay or by ours.

    Raises:
        TransientError: a minute was not enough.
    """
    pool = await create_pool(url, application_name="recovery")
    try:
        async with connected(pool) as connection:
            last = await connection.fetchval(_LAST)
        if last is None:
            return
        async with Tasks() as tasks:
            tasks.start("outbox", OutboxRelay(pool, bootstrap_servers, service=service).run)
            deadline = time.monotonic() + TIMEOUT_S
            while True:
                async with connected(pool) as connection:
                    if not await connection.fetchval(_PENDING, last):
                        return
                if time.monotonic() > deadline:
                    raise TransientError(f"what {service} has to tell could not be sent in {TIMEOUT_S:.0f} s")
                await asyncio.sleep(POLL_S)
    finally:
        await pool.close()

"""Asks the broker for its time while no submitted record reveals it: at the start, and in quiet times."""

from __future__ import annotations

import asyncio
from typing import Final

from shared.kafka.broker_time import BrokerTime
from shared.kafka.producer_batches import ProducerBatches
from shared.logging import log

MAX_AGE_SECONDS: Final = 60.0
CHECK_INTERVAL_SECONDS: Final = 10.0
RETRY_PAUSE_SECONDS: Final = 0.5


async def probe_clock(batches: ProducerBatches, broker_time: BrokerTime) -> None:
    """Keep `broker_time` current by writing probes to the topic of `batches`, until cancelled. A supervised task."""
    while True:
        observed_at = broker_time.observed_at
        if observed_at is None or not 0 <= broker_time.local_now() - observed_at < MAX_AGE_SECONDS:
            try:
                await batches.append_and_wait(0, b"", b"{}", [])
            except ConnectionError:
                log.warning("the broker's time is not known yet" if observed_at is None else "no probe was stored")
        await asyncio.sleep(CHECK_INTERVAL_SECONDS if broker_time.has_estimate else RETRY_PAUSE_SECONDS)

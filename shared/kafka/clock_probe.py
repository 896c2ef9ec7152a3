"""Asks the broker for its time where no action has done so lately: at the start, and while nobody acts."""

from __future__ import annotations

import asyncio
from typing import Final

from shared.kafka.broker_time import BrokerTime
from shared.kafka.producer_batches import ProducerBatches
from shared.logging import log

STALE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 0.5


async def probe(windows: ProducerBatches, broker_time: BrokerTime) -> None:
    """Keep `broker_time` learnt from records to the topic of `windows`, until cancelled. A supervised task."""
    while True:
        seen = broker_time.observed_at
        if seen is None or not 0 <= broker_time.local() - seen < STALE_SECONDS:
            try:
                await windows.put(0, b"", b"{}", [])
            except ConnectionError:
                log.warning("the broker's time is not known yet" if seen is None else "no probe was stored")
        await asyncio.sleep(LOOK_SECONDS if broker_time.known else RETRY_SECONDS)

"""A counter as a process, to be killed: `python -m tests.support.counter_process TOPIC [OPTIONS]`."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace

from services.petitions.consumers.counted import SIGNATURES
from shared.clock import SystemClock
from shared.counting import batch_decoder
from shared.counting.batch_plan import BatchPlan
from shared.counting.counted_topic import CountedTopic
from shared.counting.process import counting_loop
from shared.database import create_pool
from shared.kafka.outbox import OutboxRelay
from shared.kafka.records import PartitionBatch
from shared.tasks import Tasks


def renamed_topic(topic: str) -> CountedTopic:
    """The signatures of a topic of another name."""
    return replace(
        SIGNATURES,
        topic=replace(SIGNATURES.topic, name=topic),
        tallies=replace(SIGNATURES.tallies, name=f"{topic}.tallies"),
    )


def exit_on_key(key: bytes) -> None:
    """Make this process die as soon as it reads a record of `key`."""
    work = batch_decoder.BatchDecoder.plan

    async def deadly(self: batch_decoder.BatchDecoder, batches: Sequence[PartitionBatch]) -> BatchPlan:
        if any(record.key == key for batch in batches for record in batch.records):
            os._exit(1)
        return await work(self, batches)

    batch_decoder.BatchDecoder.plan = deadly  # type: ignore[method-assign]


async def main() -> None:
    """Count until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("topic")
    parser.add_argument("--no-relay", action="store_true")
    parser.add_argument("--die-of", default="")
    parser.add_argument("--instance", default=None)
    arguments = parser.parse_args()
    if arguments.die_of:
        exit_on_key(bytes.fromhex(arguments.die_of))
    kafka = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    pool = await create_pool(os.environ["DATABASE_URL"], application_name="counter", max_size=6)
    async with Tasks() as tasks:
        topic = renamed_topic(arguments.topic)
        loop = counting_loop(topic, pool, kafka, SystemClock(), instance_id=arguments.instance)
        tasks.start("counting", loop.run)
        if not arguments.no_relay:
            tasks.start("outbox", OutboxRelay(pool, kafka, service="petitions").run)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

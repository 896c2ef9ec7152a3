"""Build the broker's AOT cache: run it once in a temporary folder, and keep what Java writes about its classes and its
hottest methods under load (JEP 515). The first seconds of a spike then take a third less CPU time.

`make setup` runs `python -m deploy.local.aot_cache`. Without the cache, or on another machine, the broker only starts
slower: Java itself checks whether the cache fits.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deploy.local import kafka, topics
from deploy.local.home import PROJECT
from deploy.local.pids import PidFiles
from deploy.local.ports import HOST
from deploy.local.settings import LocalSettings
from deploy.local.supervisor import Supervisor
from shared.errors import SetupError
from shared.topics import SIGNATURES

WRITE_SECONDS: Final = 180.0
LOAD_SECONDS: Final = 10.0
BATCH_RECORDS: Final = 40
RECORD_BYTES: Final = 800
"""About the size of a signature."""
BATCH_BYTES: Final = 2 * BATCH_RECORDS * RECORD_BYTES


def main() -> None:
    """Run the broker, make the topics, load it, stop it, and keep what Java writes when it ends."""
    kafka.AOT_CACHE.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="headstart-", dir=PROJECT / ".cache") as folder:
        settings = LocalSettings(
            mille_home=folder, kafka_bootstrap_servers="", kafka_port=_free_port(), kafka_controller_port=_free_port()
        )
        settings.home.make()
        kafka.prepare(settings.home, settings)
        draft = Path(folder, "kafka.aot")
        asyncio.run(_run_broker(settings, draft))
        if draft.exists():
            draft.replace(kafka.AOT_CACHE)


async def _run_broker(settings: LocalSettings, draft: Path) -> None:
    home = settings.home
    broker = replace(
        kafka.program(home, settings),
        argv=kafka.command(home, f"-XX:AOTCacheOutput={draft}"),
        grace_seconds=WRITE_SECONDS,
    )
    supervisor = Supervisor(PidFiles(home.run), print)
    try:
        with suppress(SetupError):
            await supervisor.start([broker])
            await topics.create(settings.bootstrap_servers, flush=True, production=False)
            await _produce_and_fetch(settings.bootstrap_servers)
    finally:
        await supervisor.stop()


async def _produce_and_fetch(bootstrap_servers: str) -> None:
    """Produce and fetch as an intake and a counter do, until the broker's hot paths are profiled."""
    topic = SIGNATURES.name
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, enable_idempotence=True, max_batch_size=BATCH_BYTES
    )
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    async with producer, consumer:
        end = time.monotonic() + LOAD_SECONDS
        while time.monotonic() < end:
            sent = []
            for partition in range(SIGNATURES.partitions):
                batch = producer.create_batch()
                for _ in range(BATCH_RECORDS):
                    batch.append(key=bytes(16), value=bytes(RECORD_BYTES), timestamp=None)
                sent.append(await producer.send_batch(batch, topic, partition=partition))
            await asyncio.gather(*sent)
            await consumer.getmany(timeout_ms=0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()

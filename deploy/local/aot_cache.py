"""Build the broker's AOT cache: run it once in a temporary folder, and keep what Java writes about its classes and its
hottest methods under load (JEP 515). The first seconds of a spike then take a third less CPU time.

`make setup` runs `python -m deploy.local.aot_cache`. Without the cache, or on another machine, the broker only starts
slower: Java itself checks whether the cache fits.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deploy.local import kafka, topics
from deploy.local.home import PROJECT, Home
from deploy.local.ports import HOST
from deploy.local.settings import LocalSettings
from shared.topics import SIGNATURES

START_SECONDS: Final = 120.0
WRITE_SECONDS: Final = 180.0
POLL_SECONDS: Final = 0.2
LOAD_SECONDS: Final = 10.0
BATCH_RECORDS: Final = 40
RECORD_BYTES: Final = 800
"""About the size of a signature."""
BATCH_BYTES: Final = 2 * BATCH_RECORDS * RECORD_BYTES


def main() -> None:
    """Run the broker, make the topics, load it, stop it, and keep what Java writes when it ends."""
    kafka.AOT_CACHE.unlink(missing_ok=True)
    with _throw_away_home() as home:
        draft = home.root / "kafka.aot"
        settings = LocalSettings(
            mille_home=str(home.root),
            kafka_bootstrap_servers="",
            kafka_port=_free_port(),
            kafka_controller_port=_free_port(),
        )
        kafka.prepare(home, settings)
        with (home.logs / "kafka.log").open("wb") as log:
            process = subprocess.Popen(
                kafka.command(home, f"-XX:AOTCacheOutput={draft}"),
                env=kafka.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                _exercise_broker(settings, process)
                process.terminate()
                process.wait(WRITE_SECONDS)
            finally:
                process.kill()
                process.wait()
        if draft.exists():
            draft.replace(kafka.AOT_CACHE)


def _exercise_broker(settings: LocalSettings, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not asyncio.run(kafka.answers(settings.bootstrap_servers)):
        if process.poll() is not None or time.monotonic() > deadline:
            return
        time.sleep(POLL_SECONDS)
    asyncio.run(topics.create(settings.bootstrap_servers, flush=True, production=False))
    asyncio.run(_produce_and_fetch(settings.bootstrap_servers))


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


@contextlib.contextmanager
def _throw_away_home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="headstart-", dir=PROJECT / ".cache"))
    home = Home(folder)
    home.make()
    try:
        yield home
    finally:
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()

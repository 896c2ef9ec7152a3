"""An intake process on a running platform, and the records that it has written."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT
from shared import topics
from shared.errors import SetupError
from shared.kafka.topic_check import check_topics
from shared.privacy.keys import CampaignKeys, PrivateKeyOpener, read_secret
from shared.privacy.receipts import Receipt, Receipts
from shared.privacy.sealing import Sealer
from tests.support.seeding import Seed, publish

READY_SECONDS = 60.0
TOPICS = {"petitions": (topics.SIGNATURES.name, topics.ACTS.name), "letters": (topics.MESSAGES.name,)}


@dataclass
class Intake:
    """A running intake: its address, its process, its log."""

    service: str
    origin: str
    process: subprocess.Popen[bytes]
    log: Path
    platform: Endpoints

    @property
    def port(self) -> int:
        return int(self.origin.rpartition(":")[2])

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A client that follows no redirects."""
        return httpx.AsyncClient(base_url=self.origin, timeout=20, **options)

    def keys_folder(self) -> Path:
        return Path(self.platform["logs"]).parent / "keys"

    def read_receipt(self, text: str) -> Receipt:
        """Return the contents of a receipt, decrypted."""
        secret = read_secret(self.keys_folder() / "receipt.key")
        return Receipts(secret, TOPICS[self.service]).read(text)

    async def wait_until_ready(self) -> None:
        """Wait until the process is ready."""
        deadline = time.monotonic() + READY_SECONDS
        missing = "everything"
        async with self.client() as client:
            while True:
                assert self.process.poll() is None, f"the intake ended:\n{self.log.read_text()}"
                try:
                    answer = await client.get("/readyz")
                    if answer.status_code == 200:
                        return
                    missing = answer.text
                except httpx.TransportError:
                    pass
                assert time.monotonic() < deadline, f"not ready, {missing} is missing:\n{self.log.read_text()}"
                await asyncio.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the process signal `number` and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)


@asynccontextmanager
async def intake(
    platform: Endpoints,
    service: str,
    folder: Path,
    *,
    database: str | None = None,
    role: str = "intake",
    sabotage: str = "",
    **environment: str,
) -> AsyncIterator[Intake]:
    """Run `python -m services.<service> --role <role>` on `platform`: ready on entry, stopped on exit. Any service may
    be run so in a role that needs no other settings.

    A process that shares a PORT is reached by a probe port of its own. `sabotage` is what `tests.faults.sabotage`
    changes in it.
    """
    port = int(environment.get("PORT") or _free_port())
    if "PORT" in environment:
        environment["PROBE_PORT"] = str(_free_port())
    keys = Path(platform["logs"]).parent / "keys"
    origin = f"http://127.0.0.1:{environment.get('PROBE_PORT', port)}"
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": platform["kafka"],
        "KAFKA_FLUSH": await flush_setting(platform),
        "DATABASE_URL": database or platform["databases"][service],
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "ENVIRONMENT": "development",
        "MARATHON_URL": "http://127.0.0.1:1",
        f"{service.upper()}_URL": origin,
        "WRAPPING_PRIVATE_KEY_FILE": str(keys / "wrapping.key"),
        "RECEIPT_KEY_FILE": str(keys / "receipt.key"),
        "RECIPIENT_KEY_FILE": str(keys / "recipient.key"),
        **environment,
    }
    log = folder / f"{service}-{role}-{port}.log"
    module = ["tests.faults.sabotage", sabotage] if sabotage else []
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: ASYNC220  it returns at once
            [sys.executable, "-m", *module, f"services.{service}", "--role", role],
            env={**os.environ, **settings},
            cwd=PROJECT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Intake(service, origin, process, log, platform)
    try:
        await running.wait_until_ready()
        yield running
    finally:
        running.stop()


async def flush_setting(platform: Endpoints) -> str:
    """Return the KAFKA_FLUSH setting that matches the platform's broker."""
    try:
        await check_topics(platform["kafka"], [topics.SIGNATURES], flush=True, production=False)
    except SetupError:
        return "off"
    return "on"


async def publish_and_wait(running: Intake, *seeds: Seed) -> dict[str, CampaignKeys]:
    """Publish campaigns, wait until the intake has them, and return their opened keys."""
    keys = running.keys_folder()
    await publish(running.platform["kafka"], keys / "wrapping.pub", list(seeds))
    with_keys = [seed for seed in seeds if seed.with_keys]
    opened = await read_campaign_keys(running.platform, keys, {seed.slug for seed in with_keys})
    async with running.client() as client:
        for seed in with_keys:
            await _wait_until(lambda seed=seed: _has_campaign(client, running.service, seed))  # type: ignore[misc]
    return {seed.slug: opened[seed.slug] for seed in with_keys}


async def _has_campaign(client: httpx.AsyncClient, service: str, seed: Seed) -> bool:
    if service in ("petitions", "marathon"):
        path = f"/v1/petitions/{seed.petition}" if service == "petitions" else f"/v1/campaigns/{seed.slug}/totals"
        return (await client.get(path)).status_code == 200
    return (await client.post("/v1/messages", json={"case": seed.case})).status_code == 422


async def read_campaign_keys(platform: Endpoints, folder: Path, campaigns: set[str]) -> dict[str, CampaignKeys]:
    """Return the keys of `campaigns`, opened as a service opens them."""
    opener = PrivateKeyOpener(folder / "wrapping.key")
    opened: dict[str, dict[str, bytes]] = {}
    for record in await read_records(platform, topics.KEYS.name, 0, 0):
        event = json.loads(record.value or b"{}")
        if event["campaign"] in campaigns:
            opened.setdefault(event["campaign"], {})[event["purpose"]] = opener.open(b64decode(event["wrapped"]))
    return {
        slug: CampaignKeys(
            dedupe=found["dedupe"], token=found["token"], seal={1: Sealer(found["seal"])}, current_seal=1
        )
        for slug, found in opened.items()
        if len(found) == 3
    }


async def read_records(
    platform: Endpoints, topic: str, partition: int, first: int, count: int | None = None
) -> list[ConsumerRecord[bytes, bytes]]:
    """Return the records of a partition from offset `first` to its end, or the first `count` of them."""
    consumer = AIOKafkaConsumer(bootstrap_servers=platform["kafka"], enable_auto_commit=False)
    await consumer.start()
    try:
        topic_partition = TopicPartition(topic, partition)
        consumer.assign([topic_partition])
        consumer.seek(topic_partition, first)
        end = (await consumer.end_offsets([topic_partition]))[topic_partition]
        record_count = end - first if count is None else count
        found: list[ConsumerRecord[bytes, bytes]] = []
        async with asyncio.timeout(20):
            while len(found) < record_count:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    found += batch
        return found[:record_count]
    finally:
        await consumer.stop()


async def end_offsets(platform: Endpoints, topic: str) -> dict[int, int]:
    """Return the end offset of every partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=platform["kafka"], enable_auto_commit=False)
    await consumer.start()
    try:
        topic_partitions = [TopicPartition(topic, number) for number in range(topics.BY_NAME[topic].partitions)]
        return {
            topic_partition.partition: end
            for topic_partition, end in (await consumer.end_offsets(topic_partitions)).items()
        }
    finally:
        await consumer.stop()


async def _wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, "it did not come to be"
        await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def signature(seed: Seed, **changes: Any) -> dict[str, Any]:
    """A good signature for the petition of `seed`."""
    fields = {
        "petition": seed.petition,
        "given_name": "Ana",
        "family_name": "Diaz",
        "email": "ana@example.org",
        "country": "FR",
        "postcode": None,
        "locale": "fr",
        "consent": {"privacy": True, "updates": False, "public_name": False},
        "comment": "",
        "source": "ngo.example/free",
    }
    return {**fields, **changes}


def posted(seed: Seed, **changes: Any) -> dict[str, Any]:
    """A good report of a letter that a person posted to the case of `seed`."""
    person = signature(seed)
    del person["petition"]
    return {**person, "case": seed.case, "kind": "letter", "code": "7KQ4-M2XD-9FJ4", "language": "fr", **changes}


def message(seed: Seed, **changes: Any) -> dict[str, Any]:
    """A good letter to the case of `seed`."""
    letter: Mapping[str, Any] = {"case": seed.case, "kind": "letter", "text": "Dear friend,\nhello.", "language": "fr"}
    person = signature(seed)
    del person["petition"]
    return {**person, **letter, **changes}

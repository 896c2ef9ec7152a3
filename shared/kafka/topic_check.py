"""Compares a broker's topics with the declarations in `shared/topics.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import stamina
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from shared.errors import SetupError, TransientError
from shared.settings import ServiceSettings
from shared.topics import Topic

CLUSTER_BROKERS: Final = 3
"""From this many brokers on, each record is stored three times and acknowledged by two."""
REQUEST_TIMEOUT_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """The properties of a broker cluster that topic settings depend on. `flush` is whether a single broker flushes."""

    brokers: int
    flush: bool
    production: bool = False

    @property
    def cluster(self) -> bool:
        return self.brokers >= CLUSTER_BROKERS

    @property
    def replication(self) -> int:
        return CLUSTER_BROKERS if self.cluster else 1

    def partitions(self, topic: Topic) -> int:
        """Return how many partitions `topic` has on these brokers, permanently."""
        return topic.partition_count(production=self.production)

    def settings(self, topic: Topic) -> dict[str, str]:
        """Return the settings of `topic` on these brokers. A cluster need not flush: other members have the record."""
        return {
            **topic.broker_settings(flush=self.flush and not self.cluster),
            "min.insync.replicas": "2" if self.cluster else "1",
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference from the declaration; `setting` is `topic` where it is missing, else a setting or `partitions`."""

    topic: str
    setting: str
    declared: str
    actual: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.actual}, not {self.declared}"


@asynccontextmanager
async def open_admin(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an admin client, closed at the end.

    Raises:
        TransientError: no broker answers.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        try:
            await admin.start()
        except (KafkaError, OSError) as error:
            raise TransientError(f"no Kafka broker answers at {bootstrap_servers}") from error
        yield admin
    finally:
        await admin.close()


async def count_brokers(admin: AIOKafkaAdminClient) -> int:
    """Return how many brokers the cluster has."""
    return len((await admin.describe_cluster())["brokers"])


async def find_differences(
    admin: AIOKafkaAdminClient, topics: Sequence[Topic], broker_settings: BrokerSettings
) -> list[Difference]:
    """Return every difference of `topics` from their declarations."""
    partitions = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    missing = [Difference(topic.name, "topic", "there", "missing") for topic in topics if topic.name not in partitions]
    existing = [topic for topic in topics if topic.name in partitions]
    counts = [
        Difference(topic.name, "partitions", str(broker_settings.partitions(topic)), str(partitions[topic.name]))
        for topic in existing
        if broker_settings.partitions(topic) != partitions[topic.name]
    ]
    settings = await _read_settings(admin, [topic.name for topic in existing])
    return [
        *missing,
        *counts,
        *(
            Difference(topic.name, setting, declared, settings[topic.name].get(setting, "unset"))
            for topic in existing
            for setting, declared in broker_settings.settings(topic).items()
            if settings[topic.name].get(setting) != declared
        ),
    ]


@stamina.retry(on=TransientError, attempts=20, timeout=60, wait_max=5)
async def check_topics(bootstrap_servers: str, topics: Sequence[Topic], *, flush: bool, production: bool) -> None:
    """Verify that `topics` are as declared, before a service starts on them.

    Raises:
        SetupError: they are not; the message names each difference.
        TransientError: no broker answered for a minute.
    """
    async with open_admin(bootstrap_servers) as admin:
        broker_settings = BrokerSettings(await count_brokers(admin), flush, production)
        if differences := await find_differences(admin, topics, broker_settings):
            listed = "; ".join(str(difference) for difference in differences)
            raise SetupError(f"Kafka's topics are not as declared ({listed}): run `mille topics --create`")


async def check_topics_of(settings: ServiceSettings, topics: Sequence[Topic]) -> None:
    """Verify `topics` as `check_topics` does, under the `settings` of a service."""
    await check_topics(
        settings.kafka_bootstrap_servers, topics, flush=settings.kafka_flush == "on", production=settings.production
    )


async def _read_settings(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    responses: list[Any] = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    )
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for response in responses
        for _code, _message, _kind, name, entries in response.resources
    }

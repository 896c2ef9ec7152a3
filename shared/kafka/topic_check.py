"""Whether a broker's topics are as `shared/topics.py` declares them: for whoever creates them or starts on them."""

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
from shared.topics import Topic

CLUSTER_BROKERS: Final = 3
"""From this many brokers on, each record is kept three times and acknowledged by two."""
REQUEST_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """What declared settings depend on: how many brokers there are, whether a single one flushes, where we are."""

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
        """How many partitions `topic` has here, for ever."""
        return topic.partitions_production if self.production else topic.partitions

    def settings(self, topic: Topic) -> dict[str, str]:
        """The settings of `topic` on these brokers: a cluster need not flush, its other members have the record."""
        return {
            **topic.settings(flush=self.flush and not self.cluster),
            "min.insync.replicas": "2" if self.cluster else "1",
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as declared; `setting` is `topic` where it is missing, else a setting or `partitions`."""

    topic: str
    setting: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, not {self.wanted}"


@asynccontextmanager
async def administrator(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An administrator's client, closed at the end.

    Raises:
        TransientError: no broker answers.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_MS)
    try:
        try:
            await admin.start()
        except (KafkaError, OSError) as error:
            raise TransientError(f"no Kafka broker answers at {bootstrap_servers}") from error
        yield admin
    finally:
        await admin.close()


async def brokers(admin: AIOKafkaAdminClient) -> int:
    """How many brokers the cluster has."""
    return len((await admin.describe_cluster())["brokers"])


async def differences(admin: AIOKafkaAdminClient, topics: Sequence[Topic], around: BrokerSettings) -> list[Difference]:
    """Everything about `topics` that is not as declared."""
    found = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    missing = [Difference(topic.name, "topic", "there", "missing") for topic in topics if topic.name not in found]
    there = [topic for topic in topics if topic.name in found]
    counts = [
        Difference(topic.name, "partitions", str(around.partitions(topic)), str(found[topic.name]))
        for topic in there
        if around.partitions(topic) != found[topic.name]
    ]
    settings = await _settings(admin, [topic.name for topic in there])
    return [
        *missing,
        *counts,
        *(
            Difference(topic.name, setting, wanted, settings[topic.name].get(setting, "unset"))
            for topic in there
            for setting, wanted in around.settings(topic).items()
            if settings[topic.name].get(setting) != wanted
        ),
    ]


@stamina.retry(on=TransientError, attempts=20, timeout=60, wait_max=5)
async def check(bootstrap_servers: str, topics: Sequence[Topic], *, flush: bool, production: bool) -> None:
    """Make sure that `topics` are as declared, before anything is started on them.

    Raises:
        SetupError: they are not; the message names each difference.
        TransientError: no broker answered for a minute.
    """
    async with administrator(bootstrap_servers) as admin:
        around = BrokerSettings(await brokers(admin), flush, production)
        if wrong := await differences(admin, topics, around):
            listed = "; ".join(str(difference) for difference in wrong)
            raise SetupError(f"Kafka's topics are not as declared ({listed}): run `mille topics --create`")


async def _settings(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    answers: list[Any] = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    )
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for _code, _message, _kind, name, entries in answer.resources
    }

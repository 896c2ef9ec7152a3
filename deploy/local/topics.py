"""Create the topics that `shared/topics.py` declares, and correct the settings of existing ones."""

from __future__ import annotations

from typing import Any, Final

import stamina
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from shared import topics
from shared.errors import SetupError, TransientError
from shared.kafka.topic_check import BrokerSettings, Difference, count_brokers, find_differences, open_admin

TOPIC_EXISTS: Final = 36


@stamina.retry(on=(TransientError, KafkaError), attempts=10, timeout=30, wait_max=2)
async def create(bootstrap_servers: str, *, flush: bool, production: bool) -> list[Difference]:
    """Create the declared topics that are missing and change the settings that differ.

    Returns:
        The differences that were corrected.

    Raises:
        SetupError: a topic has another number of partitions than declared, which cannot be corrected.
        TransientError, KafkaError: the broker did not answer, or refused.
    """
    async with open_admin(bootstrap_servers) as admin:
        broker = BrokerSettings(await count_brokers(admin), flush, production)
        found = await find_differences(admin, topics.ALL, broker)
        if immutable := [difference for difference in found if difference.setting == "partitions"]:
            raise SetupError(f"{immutable[0]}; a topic's partitions never change: start afresh with `make clean`")
        missing = {difference.topic for difference in found if difference.setting == "topic"}
        changed = {difference.topic for difference in found} - missing
        if missing:
            await _create(admin, [topics.BY_NAME[name] for name in sorted(missing)], broker)
        if changed:
            await _alter(admin, [topics.BY_NAME[name] for name in sorted(changed)], broker)
        return found


async def compare(bootstrap_servers: str, *, flush: bool, production: bool) -> list[Difference]:
    """Compare the topics on the brokers at `bootstrap_servers` with their declarations; changes nothing."""
    async with open_admin(bootstrap_servers) as admin:
        broker = BrokerSettings(await count_brokers(admin), flush, production)
        return await find_differences(admin, topics.ALL, broker)


async def _create(admin: AIOKafkaAdminClient, missing: list[topics.Topic], broker: BrokerSettings) -> None:
    answer: Any = await admin.create_topics(
        [
            NewTopic(topic.name, broker.partitions(topic), broker.replication, topic_configs=broker.settings(topic))
            for topic in missing
        ]
    )
    for name, code, message in answer.topic_errors:
        if code not in (0, TOPIC_EXISTS):
            raise for_code(code)(f"{name}: {message}")


async def _alter(admin: AIOKafkaAdminClient, changed: list[topics.Topic], broker: BrokerSettings) -> None:
    answers: list[Any] = await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic.name, broker.settings(topic)) for topic in changed]
    )
    for answer in answers:
        for code, message, _kind, name in answer.resources:
            if code != 0:
                raise for_code(code)(f"{name}: {message}")

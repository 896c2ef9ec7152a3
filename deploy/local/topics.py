"""Creates the topics that `shared/topics.py` declares and brings the settings of existing ones in line."""

from __future__ import annotations

from typing import Any, Final

import stamina
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from shared import topics
from shared.errors import SetupError, TransientError
from shared.kafka.topic_check import BrokerSettings, Difference, administrator, brokers, differences

TOPIC_EXISTS: Final = 36


@stamina.retry(on=(TransientError, KafkaError), attempts=10, timeout=30, wait_max=2)
async def create(bootstrap_servers: str, *, flush: bool, production: bool) -> list[Difference]:
    """Create the declared topics that are missing and change the settings that differ.

    Returns:
        What differed, now mended.

    Raises:
        SetupError: a topic has another number of partitions than declared, which cannot be mended.
        TransientError, KafkaError: the broker did not answer, or refused.
    """
    async with administrator(bootstrap_servers) as admin:
        around = BrokerSettings(await brokers(admin), flush, production)
        wrong = await differences(admin, topics.ALL, around)
        if fixed := [difference for difference in wrong if difference.setting == "partitions"]:
            raise SetupError(f"{fixed[0]}; a topic's partitions never change: start afresh with `make clean`")
        await _create(admin, [topics.BY_NAME[name] for name in _names(wrong, missing=True)], around)
        await _set(admin, [topics.BY_NAME[name] for name in _names(wrong, missing=False)], around)
        return wrong


async def wrong(bootstrap_servers: str, *, flush: bool, production: bool) -> list[Difference]:
    """What is not as declared on the brokers at `bootstrap_servers`; changes nothing."""
    async with administrator(bootstrap_servers) as admin:
        around = BrokerSettings(await brokers(admin), flush, production)
        return await differences(admin, topics.ALL, around)


def _names(wrong: list[Difference], *, missing: bool) -> list[str]:
    return sorted({difference.topic for difference in wrong if (difference.setting == "topic") == missing})


async def _create(admin: AIOKafkaAdminClient, missing: list[topics.Topic], around: BrokerSettings) -> None:
    if not missing:
        return
    answer: Any = await admin.create_topics(
        [
            NewTopic(topic.name, around.partitions(topic), around.replication, topic_configs=around.settings(topic))
            for topic in missing
        ]
    )
    for name, code, message in answer.topic_errors:
        if code not in (0, TOPIC_EXISTS):
            raise for_code(code)(f"{name}: {message}")


async def _set(admin: AIOKafkaAdminClient, changed: list[topics.Topic], around: BrokerSettings) -> None:
    if not changed:
        return
    answers: list[Any] = await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic.name, around.settings(topic)) for topic in changed]
    )
    for answer in answers:
        for code, message, _kind, name in answer.resources:
            if code != 0:
                raise for_code(code)(f"{name}: {message}")

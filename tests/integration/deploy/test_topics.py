from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.local import topics as creation
from deploy.local.endpoints import Endpoints
from shared import topics
from shared.errors import SetupError
from shared.kafka.topic_check import BrokerSettings, Difference, check_topics, find_differences, open_admin

ONE_BROKER = BrokerSettings(brokers=1, flush=True)


async def test_every_declared_topic_is_there_as_declared(platform: Endpoints) -> None:
    assert await creation.compare(platform["kafka"], flush=True, production=False) == []
    await check_topics(platform["kafka"], topics.ALL, flush=True, production=False)


async def test_a_service_that_expects_no_flush_refuses_to_start_on_a_broker_that_flushes(platform: Endpoints) -> None:
    with pytest.raises(SetupError, match=r"petitions\.signatures\.v1: flush\.messages is 1"):
        await check_topics(platform["kafka"], [topics.SIGNATURES], flush=False, production=False)


async def test_a_missing_topic_is_named(platform: Endpoints) -> None:
    absent = replace(topics.SIGNATURES, name="petitions.absent.v1")
    async with open_admin(platform["kafka"]) as admin:
        assert await find_differences(admin, [absent], ONE_BROKER) == [
            Difference("petitions.absent.v1", "topic", "there", "missing")
        ]


async def test_another_number_of_partitions_is_named(
    platform: Endpoints, make_topic: Callable[..., Awaitable[str]]
) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=2, settings=ONE_BROKER.settings(topics.SIGNATURES))
    async with open_admin(platform["kafka"]) as admin:
        assert await find_differences(admin, [replace(topics.SIGNATURES, name=name)], ONE_BROKER) == [
            Difference(name, "partitions", "4", "2")
        ]


async def test_a_setting_that_somebody_changed_is_mended(platform: Endpoints) -> None:
    changed = ConfigResource(ConfigResourceType.TOPIC, topics.DELIVERIES.name, {"retention.ms": "1000000"})
    async with open_admin(platform["kafka"]) as admin:
        await admin.alter_configs([changed])
    mended = await creation.create(platform["kafka"], flush=True, production=False)
    assert Difference(topics.DELIVERIES.name, "retention.ms", str(topics.DELIVERIES.retention_ms), "1000000") in mended
    assert await creation.compare(platform["kafka"], flush=True, production=False) == []


def test_a_cluster_keeps_three_copies_and_needs_no_flush() -> None:
    cluster = BrokerSettings(brokers=3, flush=True, production=True)
    assert cluster.replication == 3
    assert cluster.partitions(topics.SIGNATURES) == 48
    settings = cluster.settings(topics.SIGNATURES)
    assert (settings["min.insync.replicas"], settings["flush.messages"]) == ("2", str(2**63 - 1))

from __future__ import annotations

from collections.abc import Awaitable, Callable

from deploy.local.endpoints import Endpoints
from shared import topics
from shared.kafka.topic_check import open_admin


async def test_a_fresh_topic_has_the_partitions_asked_for(
    platform: Endpoints, make_topic: Callable[..., Awaitable[str]]
) -> None:
    name = await make_topic(topics.SIGNATURES, partitions=3)
    async with open_admin(platform["kafka"]) as admin:
        [created] = [topic for topic in await admin.describe_topics() if topic["topic"] == name]
    assert len(created["partitions"]) == 3

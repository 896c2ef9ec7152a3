"""Fresh topics for tests."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from aiokafka.admin import NewTopic

from shared.kafka.topic_check import open_admin
from shared.topics import Topic


class TopicFactory:
    """Makes topics on a running broker and deletes them when closed."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._created: list[str] = []

    async def make(
        self, like: Topic | None = None, *, partitions: int | None = None, settings: Mapping[str, str] | None = None
    ) -> str:
        """Create a topic with the partitions and settings of `like`, except those given; return its name."""
        prefix = like.name if like else "test"
        name = f"{prefix}.{secrets.token_hex(6)}"
        chosen = {**(like.broker_settings(flush=False) if like else {}), **(settings or {})}
        count = partitions or (like.partitions if like else 1)
        async with open_admin(self._bootstrap_servers) as admin:
            answer: Any = await admin.create_topics([NewTopic(name, count, 1, topic_configs=chosen)])
        assert [error[1] for error in answer.topic_errors] == [0], answer
        self._created.append(name)
        return name

    async def close(self) -> None:
        """Delete the topics."""
        if self._created:
            async with open_admin(self._bootstrap_servers) as admin:
                await admin.delete_topics(self._created)

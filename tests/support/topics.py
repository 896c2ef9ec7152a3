"""Fresh topics for tests."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from aiokafka.admin import NewTopic

from shared.kafka.topic_check import administrator
from shared.topics import Topic


class Topics:
    """Makes topics on a running broker and deletes them when closed."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._made: list[str] = []

    async def make(
        self, like: Topic | None = None, *, partitions: int | None = None, settings: Mapping[str, str] | None = None
    ) -> str:
        """The name of a new topic, with the partitions and settings of `like` but for those given."""
        prefix = like.name if like else "test"
        name = f"{prefix}.{secrets.token_hex(6)}"
        chosen = {**(like.settings(flush=False) if like else {}), **(settings or {})}
        count = partitions or (like.partitions if like else 1)
        async with administrator(self._bootstrap_servers) as admin:
            answer: Any = await admin.create_topics([NewTopic(name, count, 1, topic_configs=chosen)])
        assert [error[1] for error in answer.topic_errors] == [0], answer
        self._made.append(name)
        return name

    async def close(self) -> None:
        """Delete the topics."""
        if self._made:
            async with administrator(self._bootstrap_servers) as admin:
                await admin.delete_topics(self._made)

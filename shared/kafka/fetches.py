"""Fetches the raw log of the partitions that a consumer was assigned.

aiokafka's consumer deals out the partitions; its own fetching is paused. One request is under way for each broker, also
while what the last one brought is being processed.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, NoError, NotLeaderForPartitionError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest

from shared.logging import log

WAIT_MS: Final = 100
"""A request that waits for quiet partitions holds up the busy ones of the same broker for as long."""
FETCH_BYTES: Final = 6 * 1024 * 1024
PARTITION_BYTES: Final = 1536 * 1024
"""Some two thousand records: enough for a transaction that is worth its commit, and little enough to hold three of."""
READ_COMMITTED: Final = 1
PATIENCE_S: Final = 1.0
PAUSE_S: Final = 0.2


class _Answer(NamedTuple):
    tp: TopicPartition
    offset: int
    error: type[KafkaError]
    end: int
    content: bytes


class Fetches:
    """The requests under way for the partitions of `consumer`."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._client = consumer._client  # noqa: SLF001  aiokafka hands its client to nobody else
        self._under_way: dict[int, asyncio.Task[list[_Answer]]] = {}

    def start(self, wanted: Mapping[TopicPartition, int]) -> None:
        """Ask every broker that is not being asked for what it leads of `wanted`: partitions and their next offsets."""
        by_node: defaultdict[int, list[tuple[TopicPartition, int]]] = defaultdict(list)
        for tp, offset in wanted.items():
            node = self._client.cluster.leader_for_partition(tp)
            if node is None or node < 0:
                self._client.force_metadata_update()
            elif node not in self._under_way:
                by_node[node].append((tp, offset))
        for node, places in by_node.items():
            self._under_way[node] = asyncio.create_task(self._ask(node, places))

    async def get(self, wanted: Mapping[TopicPartition, int]) -> dict[TopicPartition, bytes]:
        """What has come of `wanted`, empty where nothing came within a second.

        Raises:
            OffsetOutOfRangeError: a broker does not have the offset that is wanted of it.
        """
        self.start(wanted)
        if not self._under_way:
            await asyncio.sleep(PAUSE_S)
            return {}
        done, _ = await asyncio.wait(self._under_way.values(), timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        self._under_way = {node: task for node, task in self._under_way.items() if task not in done}
        found: dict[TopicPartition, bytes] = {}
        for answer in (answer for task in done for answer in task.result()):
            if wanted.get(answer.tp) != answer.offset:
                continue
            if answer.error is OffsetOutOfRangeError:
                raise OffsetOutOfRangeError({answer.tp: answer.offset})
            if answer.content:
                found[answer.tp] = answer.content
        return found

    async def close(self) -> None:
        """Let go of what is under way."""
        for task in self._under_way.values():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._under_way.clear()

    async def _ask(self, node: int, places: list[tuple[TopicPartition, int]]) -> list[_Answer]:
        try:
            response = await self._client.send(node, _request(places))
        except KafkaError as error:
            log.warning("fetch failed", failure=type(error).__name__)
            await asyncio.sleep(PAUSE_S)
            return []
        offsets = dict(places)
        answers = [
            _read(TopicPartition(topic, one[0]), offsets, one) for topic, parts in response.topics for one in parts
        ]
        failed = [answer for answer in answers if answer.error is not NoError]
        if any(answer.error is NotLeaderForPartitionError or answer.error.retriable for answer in failed):
            self._client.force_metadata_update()
        if failed:
            log.warning("fetch refused", failures=sorted({answer.error.__name__ for answer in failed}))
            await asyncio.sleep(PAUSE_S)
        return answers


def _request(places: list[tuple[TopicPartition, int]]) -> FetchRequest:
    by_topic: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
    # A response holds the first partitions asked for rather than the last: let it be another one each time.
    for tp, offset in random.sample(places, len(places)):
        by_topic[tp.topic].append((tp.partition, offset, PARTITION_BYTES))
    return FetchRequest(WAIT_MS, 1, FETCH_BYTES, READ_COMMITTED, list(by_topic.items()))


def _read(tp: TopicPartition, offsets: Mapping[TopicPartition, int], answer: Any) -> _Answer:
    """One partition of a response: its number, error and high watermark come first, the log comes last."""
    _, code, end, *_, content = answer
    offset = offsets[tp]
    return _Answer(tp, offset, for_code(code), end, content or b"")

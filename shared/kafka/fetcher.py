"""Fetches the raw log of the partitions that a consumer was assigned.

aiokafka's consumer assigns the partitions; its own fetching is paused. One request is in flight for each broker, also
while the previous response is being processed.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, NoError, NotLeaderForPartitionError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest

from shared.logging import log

FETCH_WAIT_MS: Final = 100
"""A request that waits for quiet partitions delays the busy ones of the same broker by as much."""
MAX_FETCH_BYTES: Final = 6 * 1024 * 1024
MAX_PARTITION_BYTES: Final = 1536 * 1024
"""Some two thousand records: enough to be worth a commit, and few enough to keep three such responses in memory."""
READ_COMMITTED: Final = 1
GET_TIMEOUT_S: Final = 1.0
RETRY_PAUSE_S: Final = 0.2


class _PartitionResponse(NamedTuple):
    tp: TopicPartition
    offset: int
    error: type[KafkaError]
    content: bytes


class Fetcher:
    """The fetch requests in flight for the partitions of `consumer`."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._client = consumer._client  # noqa: SLF001  aiokafka offers no public access to it
        self._requests: dict[int, asyncio.Task[list[_PartitionResponse]]] = {}

    def start(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Send a request for `next_offsets` to each leader that has none in flight."""
        by_node: defaultdict[int, list[tuple[TopicPartition, int]]] = defaultdict(list)
        for tp, offset in next_offsets.items():
            node = self._client.cluster.leader_for_partition(tp)
            if node is None or node < 0:
                self._client.force_metadata_update()
            elif node not in self._requests:
                by_node[node].append((tp, offset))
        for node, offsets in by_node.items():
            self._requests[node] = asyncio.create_task(self._fetch(node, offsets))

    async def get(self, next_offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, bytes]:
        """Return the fetched log of each partition from its next offset, empty where nothing came within a second.

        Raises:
            OffsetOutOfRangeError: a broker does not have the offset of one of its partitions.
        """
        self.start(next_offsets)
        if not self._requests:
            await asyncio.sleep(RETRY_PAUSE_S)
            return {}
        done, _ = await asyncio.wait(
            self._requests.values(), timeout=GET_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
        )
        self._requests = {node: task for node, task in self._requests.items() if task not in done}
        contents: dict[TopicPartition, bytes] = {}
        for response in (response for task in done for response in task.result()):
            if next_offsets.get(response.tp) != response.offset:
                continue
            if response.error is OffsetOutOfRangeError:
                raise OffsetOutOfRangeError({response.tp: response.offset})
            if response.content:
                contents[response.tp] = response.content
        return contents

    async def close(self) -> None:
        """Cancel the requests in flight."""
        for task in self._requests.values():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._requests.clear()

    async def _fetch(self, node: int, offsets: list[tuple[TopicPartition, int]]) -> list[_PartitionResponse]:
        try:
            response = await self._client.send(node, _build_request(offsets))
        except KafkaError as error:
            log.warning("fetch failed", failure=type(error).__name__)
            await asyncio.sleep(RETRY_PAUSE_S)
            return []
        offset_of = dict(offsets)
        responses = []
        for topic, partitions in response.topics:
            for number, code, *_, content in partitions:
                tp = TopicPartition(topic, number)
                responses.append(_PartitionResponse(tp, offset_of[tp], for_code(code), content or b""))
        failed = [partition for partition in responses if partition.error is not NoError]
        if any(partition.error is NotLeaderForPartitionError or partition.error.retriable for partition in failed):
            self._client.force_metadata_update()
        if failed:
            log.warning("fetch refused", failures=sorted({partition.error.__name__ for partition in failed}))
            await asyncio.sleep(RETRY_PAUSE_S)
        return responses


def _build_request(offsets: list[tuple[TopicPartition, int]]) -> FetchRequest:
    by_topic: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
    # A response favours the first partitions of its request, so their order changes each time.
    for tp, offset in random.sample(offsets, len(offsets)):
        by_topic[tp.topic].append((tp.partition, offset, MAX_PARTITION_BYTES))
    return FetchRequest(FETCH_WAIT_MS, 1, MAX_FETCH_BYTES, READ_COMMITTED, list(by_topic.items()))

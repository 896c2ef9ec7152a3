"""Posts until answered: whatever dies meanwhile, a post is repeated until its 202 or its deadline."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from deploy.demo.client import Answer, Client
from deploy.demo.posts import Post
from shared.errors import MilleplumesError

DEADLINE_SECONDS: Final = 180.0
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 3.0
COME_BACK: Final = (429, 503)


class DemoError(MilleplumesError):
    """The demo cannot go on; the message says what was expected and what came instead."""


class _Refused(msgspec.Struct):
    index: int


class _BatchAnswer(msgspec.Struct):
    accepted: int
    rejected: list[_Refused]


@dataclass(slots=True)
class Journal:
    """What the driver knows from the answers alone.

    `acknowledged` and `repeated` count actions: the ones behind a 202, and those in posts that had to be sent again.
    """

    acknowledged: int = 0
    repeated: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    refused_items: int = 0


class Sender:
    """Sends over few connections that stay open. `origins` are the services' addresses, `api_key` the partner's."""

    def __init__(self, origins: Mapping[str, str], api_key: str, journal: Journal) -> None:
        self._origins = origins
        self._authorization = {"authorization": f"Bearer {api_key}"}
        self._journal = journal
        self._random = random.Random(0)  # noqa: S311 - spreads retries, guards nothing
        self._client = Client()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    async def send_all(self, posts: Iterator[Post], at_once: int) -> None:
        """Send all `posts`, `at_once` of them side by side.

        Raises:
            DemoError: one was answered otherwise than it must be, or not at all before its deadline.
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._work(posts))

    async def ask(self, method: str, url: str) -> int:
        """The status of the answer to a request for `url`, asked again while the service is away.

        Raises:
            DemoError: no answer before the deadline.
        """
        answer, _ = await self._until_answered(method, url, {}, b"")
        return answer.status

    async def _work(self, posts: Iterator[Post]) -> None:
        for post in posts:
            await self._send(post)

    async def _send(self, post: Post) -> None:
        headers = {"content-type": post.content_type, **(self._authorization if post.authorized else {})}
        url = self._origins[post.service] + post.path
        answer, tries = await self._until_answered("POST", url, headers, post.body)
        self._journal.repeated += (tries - 1) * post.actions
        if answer.status != post.status:
            raise DemoError(f"POST {post.path} was answered {answer.status}, not {post.status}")
        if post.actions == 0:
            self._journal.refused[answer.status] += 1
        elif post.authorized:
            self._read_batch(post, answer)
        self._journal.acknowledged += post.actions

    def _read_batch(self, post: Post, answer: Answer) -> None:
        batch = msgspec.json.decode(answer.body, type=_BatchAnswer)
        rejected = tuple(sorted(item.index for item in batch.rejected))
        if batch.accepted != post.actions or rejected != post.bad_items:
            raise DemoError(
                f"a batch was answered with {batch.accepted} accepted and {len(rejected)} rejected, "
                f"not {post.actions} and {len(post.bad_items)}"
            )
        self._journal.refused_items += len(rejected)

    async def _until_answered(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Answer, int]:
        deadline = time.monotonic() + DEADLINE_SECONDS
        pause = FIRST_PAUSE_SECONDS
        tries = 0
        while True:
            tries += 1
            try:
                answer = await self._client.ask(method, url, headers=headers, body=body)
                if answer.status not in COME_BACK:
                    return answer, tries
                why = f"status {answer.status}"
            except (OSError, TimeoutError) as error:
                why = type(error).__name__
            if time.monotonic() + pause > deadline:
                service = next(name for name, origin in self._origins.items() if url.startswith(origin))
                raise DemoError(f"{service} gave no answer within {DEADLINE_SECONDS:g} s: {why}")
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

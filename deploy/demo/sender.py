"""Send posts until they are answered: a post is repeated until its 202 or its deadline, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from deploy.demo.client import Client, Response
from deploy.demo.posts import Post
from shared.errors import MilleplumesError

DEADLINE_SECONDS: Final = 180.0
FIRST_PAUSE_SECONDS: Final = 0.1
MAX_PAUSE_SECONDS: Final = 3.0
RETRY_STATUSES: Final = (429, 503)


class DemoError(MilleplumesError):
    """The demo cannot continue; the message names what was expected and what came instead."""


@dataclass(slots=True)
class Journal:
    """The driver's counts from the responses alone.

    `acknowledged` and `repeated` count actions: those answered with 202, and those in posts that were sent again.
    """

    acknowledged: int = 0
    repeated: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    refused_items: int = 0


class Sender:
    """Sends over few persistent connections. `origins` are the services' addresses, `api_key` the partner's."""

    def __init__(self, origins: Mapping[str, str], api_key: str, journal: Journal) -> None:
        self._origins = origins
        self._authorization = {"authorization": f"Bearer {api_key}"}
        self._journal = journal
        self._random = random.Random(0)  # noqa: S311 - spreads retries, guards nothing
        self._client = Client()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    async def send_all(self, posts: Iterator[Post], concurrency: int) -> None:
        """Send all `posts`, `concurrency` of them at a time.

        Raises:
            DemoError: a response was not the expected one, or none came before the deadline.
        """
        await run_concurrently((self._send(post) for post in posts), concurrency)

    async def request_status(self, method: str, url: str) -> int:
        """Send a request to `url`, again while the service is away, and return the status.

        Raises:
            DemoError: no response before the deadline.
        """
        response, _ = await self._request_until_answered(method, url, {}, b"")
        return response.status

    async def _send(self, post: Post) -> None:
        headers = {"content-type": post.content_type, **(self._authorization if post.authorized else {})}
        url = self._origins[post.service] + post.path
        response, tries = await self._request_until_answered("POST", url, headers, post.body)
        self._journal.repeated += (tries - 1) * post.actions
        if response.status != post.status:
            raise DemoError(f"POST {post.path} was answered {response.status}, not {post.status}")
        if post.actions == 0:
            self._journal.refused[response.status] += 1
        elif post.authorized:
            self._read_batch(post, response)
        self._journal.acknowledged += post.actions

    def _read_batch(self, post: Post, response: Response) -> None:
        batch = json.loads(response.body)
        rejected = tuple(sorted(item["index"] for item in batch["rejected"]))
        if batch["accepted"] != post.actions or rejected != post.bad_items:
            raise DemoError(
                f"a batch was answered with {batch['accepted']} accepted and {len(rejected)} rejected, "
                f"not {post.actions} and {len(post.bad_items)}"
            )
        self._journal.refused_items += len(rejected)

    async def _request_until_answered(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Response, int]:
        deadline = time.monotonic() + DEADLINE_SECONDS
        pause = FIRST_PAUSE_SECONDS
        tries = 0
        while True:
            tries += 1
            try:
                response = await self._client.request(method, url, headers=headers, body=body)
                if response.status not in RETRY_STATUSES:
                    return response, tries
                reason = f"status {response.status}"
            except (OSError, TimeoutError) as error:
                reason = type(error).__name__
            if time.monotonic() + pause > deadline:
                service = next(name for name, origin in self._origins.items() if url.startswith(origin))
                raise DemoError(f"{service} gave no answer within {DEADLINE_SECONDS:g} s: {reason}")
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.5))
            pause = min(pause * 2, MAX_PAUSE_SECONDS)


async def run_concurrently(work: Iterator[Coroutine[None, None, None]], concurrency: int) -> None:
    """Run all of `work`, `concurrency` coroutines at a time."""

    async def worker() -> None:
        for coroutine in work:
            await coroutine

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker())

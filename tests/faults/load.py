"""Steady load over real HTTP, with a journal of its own of what was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

WORKERS: Final = 32
REPEAT_SHARE: Final = 0.1
ANSWER_WITHIN_S: Final = 15.0
PAUSES_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
GIVE_UP_S: Final = 150.0


@dataclass
class Journal:
    """What the clients know.

    `tried` and `acknowledged` hold the numbers of the people; everybody tried is tried again until acknowledged.
    `answers` counts statuses, silence as 0. `slowest` is the longest that an answer was waited for, in seconds.
    """

    tried: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)
    receipts: list[str] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0
    slowest: float = 0.0


class Load:
    """People who sign `petition` one by one at `address`, a tenth of them twice, until `stop`."""

    def __init__(self, address: str, petition: str, seed: int) -> None:
        self.journal = Journal()
        self._address = address
        self._petition = petition
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        self._stopping = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin; returns at once."""
        self._client = httpx.AsyncClient(
            timeout=ANSWER_WITHIN_S, limits=httpx.Limits(max_connections=WORKERS, max_keepalive_connections=WORKERS)
        )
        self._workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    async def reach(self, acknowledged: int, within: float = 60.0) -> None:
        """Wait until so many people are acknowledged."""
        async with asyncio.timeout(within):
            while len(self.journal.acknowledged) < acknowledged:
                await asyncio.sleep(0.02)
                self._raise_failures()

    async def stop(self) -> Journal:
        """Let nobody new begin, wait until everybody who began is acknowledged, and hand over the journal."""
        self._stopping.set()
        async with asyncio.timeout(GIVE_UP_S):
            await asyncio.gather(*self._workers)
        await self._client.aclose()
        return self.journal

    def _raise_failures(self) -> None:
        for worker in self._workers:
            if worker.done() and (error := worker.exception()):
                raise error

    async def _work(self) -> None:
        while not self._stopping.is_set():
            again = self.journal.tried and self._random.random() < REPEAT_SHARE
            number = self._random.choice(tuple(self.journal.tried)[:1000]) if again else next(self._numbers)
            await self._sign(number)

    async def _sign(self, number: int) -> None:
        """Post until acknowledged, as a client may: silence and 503 say nothing about what was stored."""
        self.journal.tried.add(number)
        end = time.monotonic() + GIVE_UP_S
        for pause in itertools.chain(PAUSES_S, itertools.repeat(PAUSES_S[-1])):
            status, receipt = await self._post(number)
            if status == httpx.codes.ACCEPTED:
                self.journal.acknowledged.add(number)
                self.journal.receipts.append(receipt)
                return
            assert status in {0, httpx.codes.SERVICE_UNAVAILABLE}, status
            assert time.monotonic() < end, "nobody was acknowledged for too long"
            await asyncio.sleep(pause)

    async def _post(self, number: int) -> tuple[int, str]:
        began = time.monotonic()
        try:
            answer = await self._client.post(self._address, json=self._signature(number))
        except httpx.TransportError:
            self.journal.answers[0] += 1
            return 0, ""
        self.journal.slowest = max(self.journal.slowest, time.monotonic() - began)
        self.journal.answers[answer.status_code] += 1
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "retry-after" not in answer.headers:
            self.journal.without_retry_after += 1
        return answer.status_code, answer.json().get("receipt", "")

    def _signature(self, number: int) -> dict[str, Any]:
        return {
            "petition": self._petition,
            "given_name": "Sample",
            "family_name": "Signer",
            "email": f"signer.{number}@example.org",
            "country": ("FR", "GB", "DE", "JP")[number % 4],
            "locale": "en",
            "consent": {"privacy": True, "updates": False, "public_name": False},
        }

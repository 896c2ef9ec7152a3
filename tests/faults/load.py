"""Steady load over real HTTP: so many people a second sign or write, a tenth of them twice, whatever happens."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.http import Client, Response
from tests.faults.journal import Act, Journal

TICK_S: Final = 0.02
MAX_IN_FLIGHT: Final = 400
"""So many people wait for an answer at most; further ones come when there is room."""
REPEAT_SHARE: Final = 0.1
LETTER_SHARE: Final = 0.15
ANSWER_WITHIN_S: Final = 12.0
"""Well above what the intake promises: who is not answered by then never will be."""
PAUSES_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
RETRY_TIMEOUT_S: Final = 120.0
COUNTRIES: Final = ("FR", "GB", "DE", "JP", "BR")
GIVEN, FAMILY, MAILBOX = "Quillemarie", "Zymborskaïa", "quillemarie.zymborskaia"
"""Planted: found outside sealed data, they are a leak."""

ACCEPTED: Final = 202
UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes: the intakes' origins, and the campaign by its slug."""

    petitions: str
    letters: str
    campaign: str

    @property
    def petition(self) -> str:
        return f"free-{self.campaign}"

    @property
    def case(self) -> str:
        return f"case-{self.campaign}"


class Load:
    """People who act at `rate` a second on `target` until `stop`."""

    def __init__(self, target: Target, rate: int, seed: int, *, letters: float = LETTER_SHARE) -> None:
        self.journal = Journal()
        self.rate = rate
        self.target = target
        self.give_up_s = RETRY_TIMEOUT_S
        self.repeat_share = REPEAT_SHARE
        self.paused = False
        self._letters = letters
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        self._known: list[Act] = []
        self._stopping = False
        self._under_way: set[asyncio.Task[None]] = set()
        self._clients = {"signature": Client(target.petitions), "letter": Client(target.letters)}
        self._starter: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._starter = asyncio.create_task(self._start_people(), name="load")

    async def reach(self, more: int, within: float = 90.0) -> None:
        """Wait until so many more people are acknowledged than are now."""
        wanted = len(self.journal.acknowledged) + more
        async with asyncio.timeout(within):
            while len(self.journal.acknowledged) < wanted:  # noqa: ASYNC110  the journal tells nobody
                await asyncio.sleep(TICK_S)

    async def settle(self) -> None:
        """Wait until everybody who is acting now is acknowledged or gives up."""
        acting = tuple(self._under_way)
        if acting:
            await asyncio.wait(acting, timeout=self.give_up_s + ANSWER_WITHIN_S)

    async def stop(self) -> Journal:
        """Let nobody new begin, wait until all who began are acknowledged or give up, and hand over the journal."""
        self._stopping = True
        if self._starter is not None:
            await self._starter
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self.give_up_s + ANSWER_WITHIN_S)
        await self.cancel()
        return self.journal

    async def cancel(self) -> None:
        """Drop everything."""
        tasks = [*self._under_way, *([self._starter] if self._starter else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients.values():
            client.close()

    async def act(self, act: Act) -> None:
        """Post until acknowledged, as a client may: silence and 503 say nothing about what was stored."""
        self.journal.tried.add(act)
        end = time.monotonic() + self.give_up_s
        for pause in itertools.chain(PAUSES_S, itertools.repeat(PAUSES_S[-1])):
            answer = await self.post(act)
            if answer is not None and answer.status == ACCEPTED:
                self.journal.acknowledged[act] = json.loads(answer.body)["receipt"]
                return
            if time.monotonic() > end or (answer is not None and answer.status not in {0, UNAVAILABLE}):
                self.journal.given_up.add(act)
                return
            await asyncio.sleep(pause * self._random.uniform(0.8, 1.2))

    async def post(self, act: Act) -> Response | None:
        """Post once and note what came; None where nothing did although the connection stood."""
        path = "/v1/signatures" if act.what == "signature" else "/v1/messages"
        headers = {"Idempotency-Key": f"{self.target.campaign}-{act.number}"} if act.what == "letter" else {}
        body = json.dumps(self.body(act)).encode()
        began = time.monotonic()
        answer: Response | None = None
        with suppress(TimeoutError):
            answer = await self._clients[act.what].post(path, body, headers, ANSWER_WITHIN_S)
        self._note(answer, time.monotonic() - began)
        return answer

    def _note(self, answer: Response | None, seconds: float) -> None:
        journal = self.journal
        if answer is None:
            journal.hung += 1
            return
        journal.answers[answer.status] += 1
        journal.cut += answer.cut
        if answer.status:
            journal.slowest = max(journal.slowest, seconds)
        if answer.status == UNAVAILABLE and not answer.headers.get("retry-after", "").isdigit():
            journal.without_retry_after += 1
        if answer.status not in {0, ACCEPTED} and len(journal.bodies) < MAX_IN_FLIGHT:
            journal.bodies.add(answer.body)

    def body(self, act: Act) -> dict[str, Any]:
        """What the person of `act` sends."""
        person = {
            "given_name": GIVEN,
            "family_name": FAMILY,
            "email": self.address(act),
            "country": country_of(act),
            "locale": "en",
            "consent": {"privacy": True, "updates": False, "public_name": False},
        }
        if act.what == "signature":
            return {"petition": self.target.petition, **person}
        return {"case": self.target.case, "kind": "letter", "text": "Dear friend.", "language": "en", **person}

    def address(self, act: Act) -> str:
        """The person's e-mail address: every tenth number has it at `tenth_domain`."""
        domain = self.tenth_domain if act.number % 10 == 0 else f"{self.target.campaign}.example.org"
        return f"{MAILBOX}.{act.what}.{act.number}@{domain}"

    @property
    def tenth_domain(self) -> str:
        return f"tenth.{self.target.campaign}.example.org"

    async def _start_people(self) -> None:
        began, started = time.monotonic(), 0
        while not self._stopping:
            await asyncio.sleep(TICK_S)
            if self.paused:
                began, started = time.monotonic(), 0
                continue
            due = int((time.monotonic() - began) * self.rate)
            room = MAX_IN_FLIGHT - len(self._under_way)
            for _ in range(min(due - started, room)):
                task = asyncio.create_task(self.act(self._next()))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            # Who found no room stays away: the load is steady, it does not catch up.
            started = due

    def _next(self) -> Act:
        if self._known and self._random.random() < self.repeat_share:
            return self._random.choice(self._known)
        act = Act("letter" if self._random.random() < self._letters else "signature", next(self._numbers))
        if len(self._known) < 5 * MAX_IN_FLIGHT:
            self._known.append(act)
        return act


def country_of(act: Act) -> str:
    """The country that the person of `act` gives."""
    return COUNTRIES[act.number % len(COUNTRIES)]

"""Sends mails: leased in one transaction, handed over by a few workers, recorded in another transaction.

A process that dies in between leaves its leases behind: when they end the mails go again, under the same Message-IDs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import timedelta
from typing import Final

import asyncpg

from services.notifications.actions.announce import Announcements
from services.notifications.sender.attempts import Attempts, Result
from services.notifications.sender.outages import again_and_again
from services.notifications.sender.smtp_connection import SmtpConnection
from services.notifications.storage import mails, recipients
from services.notifications.storage.mails import Again, Ended
from shared.clock import Clock, utc
from shared.database import connected
from shared.kafka.outbox import OutboxRecord, put_outbox
from shared.metrics import MAIL_SECONDS, MAILS

LEASE: Final = timedelta(seconds=90)
"""How long others leave a mail to the sender that took it; so much later go the mails of one that was killed."""
LEASED_AT_ONCE: Final = 100
RECORDED_AT_ONCE: Final = 500
GATHER_S: Final = 0.05
IDLE_S: Final = 0.5
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
STOP_S: Final = 3.0
"""How long a mail that is under way may take when the process ends."""


class Sender:
    """Sends whatever is due over `relays`, one mail at a time over each. `recorded` is called after each
    transaction.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        attempts: Attempts,
        relays: Sequence[SmtpConnection],
        clock: Clock,
        recorded: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._attempts = attempts
        self._relays = relays
        self._clock = clock
        self._recorded = recorded
        self._awake = asyncio.Event()
        self._leased: asyncio.Queue[mails.Leased] = asyncio.Queue(LEASED_AT_ONCE * 2)
        self._results: asyncio.Queue[Result] = asyncio.Queue(RECORDED_AT_ONCE * 2)
        self._unrecorded: list[Result] = []
        self._announcements = Announcements()

    def wake(self) -> None:
        """Look at once: mails were planned."""
        self._awake.set()

    async def run(self) -> None:
        """Send until cancelled; mails under way then are finished and recorded.

        Raises:
            TransientError: PostgreSQL was away for ten minutes.
        """
        recording = asyncio.create_task(again_and_again("recording mails", self._record_next, None, IDLE_S))
        working = [
            asyncio.create_task(again_and_again("leasing mails", self._lease_some, self._awake, IDLE_S)),
            *(asyncio.create_task(self._work(relay)) for relay in self._relays),
        ]
        try:
            await asyncio.wait((recording, *working), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(working)
            await _ended([recording])
            await self._record()
            for relay in self._relays:
                await relay.close()
        for task in (recording, *working):
            if not task.cancelled():
                task.result()

    async def _lease_some(self) -> bool:
        room = min(LEASED_AT_ONCE, self._leased.maxsize - self._leased.qsize())
        if room < LEASED_AT_ONCE:
            await asyncio.sleep(GATHER_S)
            return True
        now = utc(self._clock.now())
        async with connected(self._pool) as connection, connection.transaction():
            leased = await mails.lease(connection, now, now + LEASE, room)
        for mail in leased:
            self._leased.put_nowait(mail)
        return bool(leased)

    async def _work(self, relay: SmtpConnection) -> None:
        pause = FIRST_PAUSE_S
        while True:
            mail = await self._leased.get()
            result = await _finished(self._attempts.attempt(relay, mail), self._results)
            if result is None:
                continue
            await self._results.put(result)
            if not result.unreachable:
                pause = FIRST_PAUSE_S
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _record_next(self) -> bool:
        """Record what comes together. What cannot be recorded now is kept; workers wait when it becomes too much."""
        if not self._unrecorded:
            self._unrecorded.append(await self._results.get())
            await asyncio.sleep(GATHER_S)
        await self._record()
        return True

    async def _record(self) -> None:
        while len(self._unrecorded) < RECORDED_AT_ONCE and not self._results.empty():
            self._unrecorded.append(self._results.get_nowait())
        if not self._unrecorded:
            return
        async with connected(self._pool) as connection, connection.transaction():
            await self._write(connection, self._unrecorded)
        for result in self._unrecorded:
            MAILS.labels(outcome=result.outcome).inc()
        self._unrecorded = []
        self._recorded()

    async def _write(self, connection: asyncpg.Connection, results: Sequence[Result]) -> None:
        now = self._clock.now()
        endings = [result.what for result in results if isinstance(result.what, Ended)]
        ended = await mails.end(connection, endings, utc(now))
        await mails.retry(connection, [result.what for result in results if isinstance(result.what, Again)])
        gone = {result.gone: result.mail.recipient for result in results if result.gone is not None}
        await recipients.found_gone(connection, gone, utc(now))
        sent = [result.mail for result in results if result.outcome == "sent" and result.mail.id in ended]
        bounced = [result for result in results if result.outcome == "bounced" and result.mail.id in ended]
        await put_outbox(connection, [*self._told(sent, now), *self._told_of_bounces(bounced, now)])
        for mail in sent:
            MAIL_SECONDS.observe(max(0.0, now - mail.planned_at.timestamp()))

    def _told(self, sent: Sequence[mails.Leased], now: float) -> Iterator[OutboxRecord]:
        for mail in sent:
            yield from self._announcements.sent(mail.recipient, _campaigns(mail), now)

    def _told_of_bounces(self, bounced: Sequence[Result], now: float) -> Iterator[OutboxRecord]:
        for result in bounced:
            mail, ended = result.mail, result.what
            yield from self._announcements.bounced(
                mail.recipient, _campaigns(mail), now, answer=ended.answer, gone=result.gone
            )


def _campaigns(mail: mails.Leased) -> list[str]:
    """The campaign of every act that `mail` is about."""
    return [covered.campaign for covered in mail.covers]


async def _finished(attempt: Coroutine[None, None, Result | None], results: asyncio.Queue[Result]) -> Result | None:
    """The result of `attempt`; on being cancelled, wait for it and leave it in `results`."""
    task = asyncio.ensure_future(attempt)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=STOP_S)
        if task.done() and (result := task.result()) is not None and not results.full():
            results.put_nowait(result)
        raise


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=STOP_S + 1)

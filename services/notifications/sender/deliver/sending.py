"""Sends mails: leased in one transaction, sent by a few workers, recorded in another transaction.

If a process dies in between, its mails go again when their leases end, under the same Message-IDs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Final

import asyncpg

from services.notifications.actions.delivery_events import bounced_records, sent_records
from services.notifications.sender.deliver.attempts import AttemptResult, AttemptRunner
from services.notifications.sender.deliver.smtp_connection import SmtpConnection
from services.notifications.sender.outages import run_repeatedly
from services.notifications.storage import mails, recipients
from services.notifications.storage.mails import FinalOutcome, Retry
from shared.clock import Clock, utc
from shared.database import connected
from shared.kafka.outbox import put_outbox
from shared.metrics import MAIL_SECONDS, MAILS

LEASE: Final = timedelta(seconds=90)
"""How long a mail belongs to the sender that took it; the mails of a killed sender go after this time."""
MAX_LEASED: Final = 100
MAX_RECORDED: Final = 500
GATHER_PERIOD_S: Final = 0.05
IDLE_S: Final = 0.5
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 30.0
STOP_TIMEOUT_S: Final = 3.0
"""How long a mail under way may take when the process ends."""


class Sender:
    """Sends due mails over `connections`, one at a time over each. `on_recorded` is called after each transaction."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        runner: AttemptRunner,
        connections: Sequence[SmtpConnection],
        clock: Clock,
        on_recorded: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._runner = runner
        self._connections = connections
        self._clock = clock
        self._on_recorded = on_recorded
        self._wake_event = asyncio.Event()
        self._leased: asyncio.Queue[mails.LeasedMail] = asyncio.Queue(MAX_LEASED * 2)
        self._results: asyncio.Queue[AttemptResult] = asyncio.Queue(MAX_RECORDED * 2)
        self._unrecorded: list[AttemptResult] = []

    def wake(self) -> None:
        """Look for due mails at once, because mails were planned."""
        self._wake_event.set()

    async def run(self) -> None:
        """Send until cancelled; mails under way then are finished and recorded.

        Raises:
            TransientError: PostgreSQL was away for ten minutes.
        """
        recorder = asyncio.create_task(run_repeatedly("recording mails", self._record_next, IDLE_S))
        workers = [
            asyncio.create_task(run_repeatedly("leasing mails", self._lease_due, IDLE_S, self._wake_event)),
            *(asyncio.create_task(self._send_leased(connection)) for connection in self._connections),
        ]
        try:
            await asyncio.wait((recorder, *workers), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(workers)
            await _cancel([recorder])
            await self._record()
            for connection in self._connections:
                await connection.close()
        for task in (recorder, *workers):
            if not task.cancelled():
                task.result()

    async def _lease_due(self) -> bool:
        room = min(MAX_LEASED, self._leased.maxsize - self._leased.qsize())
        if room < MAX_LEASED:
            await asyncio.sleep(GATHER_PERIOD_S)
            return True
        now = utc(self._clock.now())
        async with connected(self._pool) as connection, connection.transaction():
            leased = await mails.lease(connection, now, now + LEASE, room)
        for mail in leased:
            self._leased.put_nowait(mail)
        return bool(leased)

    async def _send_leased(self, connection: SmtpConnection) -> None:
        pause = FIRST_PAUSE_S
        while True:
            mail = await self._leased.get()
            result = await _run_to_end(self._runner.run(connection, mail), self._results)
            if result is None:
                continue
            await self._results.put(result)
            if not result.unreachable:
                pause = FIRST_PAUSE_S
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_S)

    async def _record_next(self) -> bool:
        """Record the results that come together. After a failed transaction they are kept; workers wait when there are
        too many.
        """
        if not self._unrecorded:
            self._unrecorded.append(await self._results.get())
            await asyncio.sleep(GATHER_PERIOD_S)
        await self._record()
        return True

    async def _record(self) -> None:
        while len(self._unrecorded) < MAX_RECORDED and not self._results.empty():
            self._unrecorded.append(self._results.get_nowait())
        if not self._unrecorded:
            return
        async with connected(self._pool) as connection, connection.transaction():
            await self._write(connection, self._unrecorded)
        for result in self._unrecorded:
            MAILS.labels(outcome=result.label).inc()
        self._unrecorded = []
        self._on_recorded()

    async def _write(self, connection: asyncpg.Connection, results: Sequence[AttemptResult]) -> None:
        now = self._clock.now()
        outcomes = [result.outcome for result in results if isinstance(result.outcome, FinalOutcome)]
        ended = await mails.end(connection, outcomes, utc(now))
        await mails.schedule_retries(
            connection, [result.outcome for result in results if isinstance(result.outcome, Retry)]
        )
        gone_addresses = {
            result.gone_address: result.mail.recipient for result in results if result.gone_address is not None
        }
        await recipients.mark_gone(connection, gone_addresses, utc(now))
        sent = [result.mail for result in results if result.label == "sent" and result.mail.id in ended]
        bounced = [result for result in results if result.label == "bounced" and result.mail.id in ended]
        records = [record for mail in sent for record in sent_records(mail, now)]
        for result in bounced:
            answer, gone_address = result.outcome.answer, result.gone_address
            records += bounced_records(result.mail, now, answer=answer, gone_address=gone_address)
        await put_outbox(connection, records)
        for mail in sent:
            MAIL_SECONDS.observe(max(0.0, now - mail.planned_at.timestamp()))


async def _run_to_end(
    attempt: Coroutine[None, None, AttemptResult | None], results: asyncio.Queue[AttemptResult]
) -> AttemptResult | None:
    """Return the result of `attempt`; when cancelled, wait for it and put it into `results`."""
    task = asyncio.ensure_future(attempt)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=STOP_TIMEOUT_S)
        if task.done() and (result := task.result()) is not None and not results.full():
            results.put_nowait(result)
        raise


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S + 1)

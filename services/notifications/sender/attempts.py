"""One attempt to send one mail, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from services.notifications.domain.refusals import GIVE_UP_AFTER, Failure, Stage, failure, retry_after
from services.notifications.domain.slow_domains import SlowDomains
from services.notifications.sender.composing import Composer
from services.notifications.sender.smtp_connection import CLOSING, SENDING_S, Outgoing, RefusedError, SmtpConnection
from services.notifications.storage.mails import Again, Ended, Leased
from shared.clock import Clock, utc
from shared.errors import PermanentError, TransientError
from shared.logging import log

LEAST_LEASE: Final = timedelta(seconds=SENDING_S + 5)
"""A mail whose lease ends sooner is left alone: another sender may take it before the relay answers."""
TRIES_TO_WRITE: Final = 5


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mail.

    `gone` is the key of the address that it was written to, where that has no mailbox.
    `unreachable` says that the relay itself was at fault, so that others would fare alike; `refused` that it was told
    for good that we may not, which waits for somebody to mend it.
    """

    mail: Leased
    what: Ended | Again
    gone: bytes | None = None
    unreachable: bool = False
    refused: bool = False

    @property
    def outcome(self) -> str:
        """A word for the metrics."""
        if isinstance(self.what, Ended):
            return self.what.ending
        if self.refused:
            return "refused"
        return "deferred" if self.what.uncounted else "retried"


class Attempts:
    """Decides whether a leased mail may go, and sends it."""

    def __init__(self, composer: Composer, clock: Clock) -> None:
        self._composer = composer
        self._clock = clock
        self._slow = SlowDomains()

    async def attempt(self, relay: SmtpConnection, mail: Leased) -> Result | None:
        """Try to send `mail` over `relay`; None where its lease is too short to begin."""
        now = utc(self._clock.now())
        if mail.lease_until - now < LEAST_LEASE:
            return None
        if mail.suppressed or not mail.covers:
            return Result(mail, Ended(mail.id, "dropped", 0))
        if now - mail.planned_at > GIVE_UP_AFTER:
            return Result(mail, Ended(mail.id, "failed", 0))
        outgoing = self._written(mail, now)
        return outgoing if isinstance(outgoing, Result) else await self._send(relay, mail, outgoing, now)

    def _written(self, mail: Leased, now: datetime) -> Outgoing | Result:
        try:
            return self._composer.compose(mail)
        except TransientError:
            return self._later(mail, now, 0)
        except PermanentError as error:
            return self._unwritable(mail, error.reason)
        except Exception:  # noqa: BLE001  whatever it is, it is this mail alone
            log.exception("mail broke its writer", attempt=mail.attempts)
            return self._later(mail, now, 0) if mail.attempts < TRIES_TO_WRITE else self._unwritable(mail, "broken")

    def _unwritable(self, mail: Leased, reason: str) -> Result:
        topic, partition, offset = mail.covers[0].place
        log.error("mail cannot be written", reason=reason, topic=topic, partition=partition, offset=offset)
        return Result(mail, Ended(mail.id, "failed", 0))

    async def _send(self, relay: SmtpConnection, mail: Leased, outgoing: Outgoing, now: datetime) -> Result:
        domain = outgoing.recipient.rpartition("@")[2]
        held_until = self._slow.held_until(domain, now)
        if held_until is not None:
            return Result(mail, Again(mail.id, held_until, uncounted=True, answer=0))
        try:
            await relay.send(outgoing)
        except RefusedError as error:
            return self._refused(mail, outgoing, error)
        self._slow.succeeded(domain)
        return Result(mail, Ended(mail.id, "sent", 250))

    def _refused(self, mail: Leased, outgoing: Outgoing, error: RefusedError) -> Result:
        now = utc(self._clock.now())
        what = failure(error.stage, error.code, error.status)
        status = "5.{}.{}".format(*error.status) if error.status else None
        log.warning("mail not taken", stage=error.stage.value, answer=error.code, status=status, attempt=mail.attempts)
        if what in (Failure.RETRY, Failure.REFUSED):
            if error.stage is not Stage.SESSION and error.code in (0, CLOSING):
                self._slow.failed(outgoing.recipient.rpartition("@")[2], now)
            later = self._later(mail, now, error.code, unreachable=error.stage is Stage.SESSION)
            return replace(later, refused=what is Failure.REFUSED)
        gone = outgoing.address if what is Failure.MAILBOX_GONE else None
        return Result(mail, Ended(mail.id, "bounced", error.code), gone=gone)

    def _later(self, mail: Leased, now: datetime, answer: int, *, unreachable: bool = False) -> Result:
        again = Again(mail.id, now + retry_after(mail.attempts), uncounted=False, answer=answer)
        return Result(mail, again, unreachable=unreachable)

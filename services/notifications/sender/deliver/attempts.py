"""One attempt to send one mail, and its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from services.notifications.domain.refusals import GIVE_UP_AFTER, Failure, Stage, classify_failure, retry_delay
from services.notifications.sender.compose.composing import Composer, OutgoingMail
from services.notifications.sender.deliver.slow_domains import SlowDomains
from services.notifications.sender.deliver.smtp_connection import (
    ACCEPTED,
    CLOSING,
    SEND_TIMEOUT_S,
    RefusedError,
    SmtpConnection,
)
from services.notifications.storage.mails import FinalOutcome, LeasedMail, Retry
from shared.clock import Clock, utc
from shared.errors import PermanentError, TransientError
from shared.logging import log

MIN_LEASE: Final = timedelta(seconds=SEND_TIMEOUT_S + 5)
"""A mail whose lease ends sooner is not sent: another sender may take it before the relay answers."""
MAX_COMPOSE_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of one attempt.

    `gone_address` is the key of the recipient's address, where that has no mailbox. `unreachable` says that the relay
    itself failed, so that other mails would fail as well; `refused` that it refuses us permanently, which an operator
    has to mend.
    """

    mail: LeasedMail
    outcome: FinalOutcome | Retry
    gone_address: bytes | None = None
    unreachable: bool = False
    refused: bool = False

    @property
    def label(self) -> str:
        """The label of the result in metrics."""
        if isinstance(self.outcome, FinalOutcome):
            return self.outcome.state
        if self.refused:
            return "refused"
        return "retried" if self.outcome.tried else "deferred"


class AttemptRunner:
    """Decides whether a leased mail may go, and sends it."""

    def __init__(self, composer: Composer, clock: Clock) -> None:
        self._composer = composer
        self._clock = clock
        self._slow_domains = SlowDomains()

    async def run(self, connection: SmtpConnection, mail: LeasedMail) -> AttemptResult | None:
        """Try to send `mail` over `connection`; return None where its lease is too short to begin."""
        now = utc(self._clock.now())
        if mail.lease_until - now < MIN_LEASE:
            return None
        if mail.suppressed or not mail.deliveries:
            return AttemptResult(mail, FinalOutcome(mail.id, "dropped", 0, tried=False, deliveries="suppressed"))
        if now - mail.planned_at > GIVE_UP_AFTER:
            return AttemptResult(mail, FinalOutcome(mail.id, "failed", 0, tried=False, deliveries="failed"))
        outgoing = self._compose(mail, now)
        return outgoing if isinstance(outgoing, AttemptResult) else await self._send(connection, mail, outgoing, now)

    def _compose(self, mail: LeasedMail, now: datetime) -> OutgoingMail | AttemptResult:
        try:
            return self._composer.compose(mail)
        except TransientError:
            return self._retry(mail, now, 0)
        except PermanentError as error:
            return self._fail(mail, error.reason)
        except Exception:  # noqa: BLE001  any other failure concerns this mail alone
            log.exception("mail broke its writer", attempt=mail.attempts)
            return self._retry(mail, now, 0) if mail.attempts < MAX_COMPOSE_ATTEMPTS else self._fail(mail, "broken")

    def _fail(self, mail: LeasedMail, reason: str) -> AttemptResult:
        topic, partition, offset = mail.deliveries[0].record
        log.error("mail cannot be written", reason=reason, topic=topic, partition=partition, offset=offset)
        return AttemptResult(mail, FinalOutcome(mail.id, "failed", 0, tried=True, deliveries="failed"))

    async def _send(
        self, connection: SmtpConnection, mail: LeasedMail, outgoing: OutgoingMail, now: datetime
    ) -> AttemptResult:
        domain = outgoing.recipient.rpartition("@")[2]
        deferred_until = self._slow_domains.deferred_until(domain, now)
        if deferred_until is not None:
            return AttemptResult(mail, Retry(mail.id, deferred_until, 0, tried=False))
        try:
            await connection.send(outgoing)
        except RefusedError as error:
            return self._handle_refusal(mail, outgoing, error)
        self._slow_domains.record_success(domain)
        waiting = self._composer.mailings[mail.mailing].gathering.until_confirmed
        return AttemptResult(
            mail, FinalOutcome(mail.id, "sent", ACCEPTED, tried=True, deliveries=None if waiting else "sent")
        )

    def _handle_refusal(self, mail: LeasedMail, outgoing: OutgoingMail, error: RefusedError) -> AttemptResult:
        now = utc(self._clock.now())
        failure = classify_failure(error.stage, error.code, error.status)
        status = "5.{}.{}".format(*error.status) if error.status else None
        log.warning("mail not taken", stage=error.stage.value, answer=error.code, status=status, attempt=mail.attempts)
        if failure in (Failure.RETRY, Failure.REFUSED):
            if error.stage is not Stage.SESSION and error.code in (0, CLOSING):
                self._slow_domains.record_failure(outgoing.recipient.rpartition("@")[2], now)
            retry = self._retry(mail, now, error.code, unreachable=error.stage is Stage.SESSION)
            return replace(retry, refused=failure is Failure.REFUSED)
        gone_address = outgoing.address if failure is Failure.MAILBOX_GONE else None
        outcome = FinalOutcome(mail.id, "bounced", error.code, tried=True, deliveries="bounced")
        return AttemptResult(mail, outcome, gone_address=gone_address)

    def _retry(self, mail: LeasedMail, now: datetime, answer: int, *, unreachable: bool = False) -> AttemptResult:
        retry = Retry(mail.id, now + retry_delay(mail.attempts), answer, tried=True)
        return AttemptResult(mail, retry, unreachable=unreachable)

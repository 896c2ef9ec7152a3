"""Taking submissions: decide, append to a window, answer with a receipt once the broker has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shared import metrics
from shared.errors import TransientError
from shared.http.client import Client
from shared.http.fast_routes import FastAnswer
from shared.kafka.producer_batches import Headers, ProducerBatches
from shared.privacy.receipts import Receipts
from shared.refusals import Refusal

IDEMPOTENCY_KEY = b"idempotency-key"


@dataclass(slots=True)
class OutgoingRecord:
    """A record to be appended: for which petition or case, under which dedupe key, in which partition."""

    subject: str
    key: bytes
    partition: int
    value: bytes
    headers: Headers


Decide = Callable[[bytes, Client, bytes | None], OutgoingRecord]
"""From a body, its sender and the Idempotency-Key to a submission; raises `Refusal` or `TransientError`."""


class SubmitEndpoint:
    """One address at which submissions are taken; its hot and its ordinary route decide by the same function."""

    def __init__(self, decide: Decide, windows: ProducerBatches, receipts: Receipts) -> None:
        self.decide = decide
        self.windows = windows
        self._receipts = receipts

    def take(self, body: bytes, headers: Mapping[bytes, bytes], client: Client, answer: FastAnswer) -> bool:
        """The hot route: take what can be taken, leave everything else to the ordinary one."""
        try:
            submission = self.decide(body, client, headers.get(IDEMPOTENCY_KEY))
        except (Refusal, TransientError):
            return False
        waiting = PendingAck(answer, self, submission.subject, submission.key)
        if not self.windows.append(submission.partition, submission.key, submission.value, submission.headers, waiting):
            answer.unavailable()
        return True

    async def submit(self, submission: OutgoingRecord) -> str:
        """Append `submission` and wait for it; its receipt.

        Raises:
            ConnectionError: nothing is known to be stored.
        """
        offset = await self.windows.put(submission.partition, submission.key, submission.value, submission.headers)
        return self.receipt(submission.subject, submission.key, submission.partition, offset)

    def receipt(self, subject: str, key: bytes, partition: int, offset: int) -> str:
        """The receipt of the record at `offset`."""
        return self._receipts.issue(self.windows.topic.name, subject, key, partition, offset)


class PendingAck:
    """A hot request whose record is on its way."""

    __slots__ = ("_answer", "_key", "_subject", "_taking")

    def __init__(self, answer: FastAnswer, taking: SubmitEndpoint, subject: str, key: bytes) -> None:
        self._answer = answer
        self._taking = taking
        self._subject = subject
        self._key = key

    def acknowledged(self, partition: int, offset: int) -> None:
        self._answer.accepted(accepted(self._taking.receipt(self._subject, self._key, partition, offset)))

    def failed(self) -> None:
        self._answer.unavailable()


def accepted(receipt: str) -> bytes:
    """The body of a 202."""
    return b'{"receipt":"%s","status":"accepted"}' % receipt.encode("ascii")


def note_refusal(topic: str, refusal: Refusal) -> None:
    """Count a refusal by its codes."""
    for code in {error.code for error in refusal.errors} or {refusal.code}:
        metrics.INTAKE_REFUSED.labels(topic=topic, code=code).inc()

"""Taking submissions: build the record, append it to a batch, answer with a receipt once the broker has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic

from shared import metrics
from shared.errors import TransientError
from shared.http.client import Client
from shared.http.fast_routes import FastResponder
from shared.intake import forms
from shared.intake.idempotency import IdempotencyMemory
from shared.intake.requests import Request, RequestDecoder
from shared.kafka.producer_batches import Headers, ProducerBatches
from shared.privacy.receipts import Receipts
from shared.refusals import Refusal
from shared.topics import Topic

IDEMPOTENCY_KEY = b"idempotency-key"


@dataclass(slots=True)
class OutgoingRecord:
    """A record to append. `subject` is the slug of its petition or case, `key` the dedupe key."""

    subject: str
    key: bytes
    partition: int
    value: bytes
    headers: Headers


class SubmitEndpoint(Generic[Request]):
    """One endpoint that takes submissions: its fast and its ordinary route decode and build alike.

    Args:
        topic: the topic that the records go to.
        decoder: decodes its requests.
        build_record: builds a record from a request, its client and the Idempotency-Key, or raises `Refusal` or
            `TransientError`.
        batches: the batches of every topic by name; the process fills it when it starts.
        receipts: issues the receipts.
    """

    def __init__(
        self,
        topic: Topic,
        decoder: RequestDecoder[Request],
        build_record: Callable[[Request, Client, bytes | None], OutgoingRecord],
        batches: Mapping[str, ProducerBatches],
        receipts: Receipts,
    ) -> None:
        self.topic = topic
        self.decoder = decoder
        self._build_record = build_record
        self._batches_by_topic = batches
        self._receipts = receipts
        self._idempotency = IdempotencyMemory()

    @cached_property
    def batches(self) -> ProducerBatches:
        """The batches of the topic."""
        return self._batches_by_topic[self.topic.name]

    def build_from_json(self, body: bytes, client: Client, idempotency_key: bytes | None) -> OutgoingRecord:
        """Build the record of the request in a JSON body. A refused request leaves its Idempotency-Key unused.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        record = self._build_record(self.decoder.decode(body), client, idempotency_key)
        if idempotency_key is not None:
            self._idempotency.check(idempotency_key, body, time.monotonic())
        return record

    def build_from_form(self, values: Mapping[str, str], client: Client) -> OutgoingRecord:
        """Build the record of the request in a form.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        request = self.decoder.convert(forms.to_document(values, self.decoder.request_type))
        return self._build_record(request, client, None)

    def try_submit(self, body: bytes, headers: Mapping[bytes, bytes], client: Client, answer: FastResponder) -> bool:
        """The fast route: take a good submission and return True; leave any other to the ordinary route."""
        try:
            record = self.build_from_json(body, client, headers.get(IDEMPOTENCY_KEY))
        except (Refusal, TransientError):
            return False
        pending = PendingAck(answer, self, record.subject, record.key)
        if not self.batches.append(record.partition, record.key, record.value, record.headers, pending):
            answer.send_unavailable()
        return True

    async def submit(self, record: OutgoingRecord) -> str:
        """Append `record`, wait for its acknowledgement and return its receipt.

        Raises:
            ConnectionError: nothing is known to be stored.
        """
        offset = await self.batches.append_and_wait(record.partition, record.key, record.value, record.headers)
        return self.issue_receipt(record.subject, record.key, record.partition, offset)

    def issue_receipt(self, subject: str, key: bytes, partition: int, offset: int) -> str:
        """Return the receipt of the record at `offset`."""
        return self._receipts.issue(self.topic.name, subject, key, partition, offset)


class PendingAck:
    """A request on the fast route whose record is not yet acknowledged."""

    __slots__ = ("_endpoint", "_key", "_responder", "_subject")

    def __init__(self, responder: FastResponder, endpoint: SubmitEndpoint[Any], subject: str, key: bytes) -> None:
        self._responder = responder
        self._endpoint = endpoint
        self._subject = subject
        self._key = key

    def on_acknowledged(self, partition: int, offset: int) -> None:
        self._responder.send_accepted(
            accepted_body(self._endpoint.issue_receipt(self._subject, self._key, partition, offset))
        )

    def on_failed(self) -> None:
        self._responder.send_unavailable()


def accepted_body(receipt: str) -> bytes:
    """Return the body of a 202."""
    return b'{"receipt":"%s","status":"accepted"}' % receipt.encode("ascii")


def count_refusal(topic: str, refusal: Refusal) -> None:
    """Count a refusal by its codes."""
    for code in {error.code for error in refusal.errors} or {refusal.code}:
        metrics.INTAKE_REFUSED.labels(topic=topic, code=code).inc()

"""Build the record of a message that is written here."""

from __future__ import annotations

import time

from services.letters.actions.record_message import Message, RecordMessage
from services.letters.domain.requests import MESSAGES, MessageRequest
from shared.http.client import Client
from shared.intake.idempotency import IdempotencyMemory
from shared.intake.submit import OutgoingRecord
from shared.privacy import dedupe


class WriteMessage:
    """Builds records of messages that people write here."""

    def __init__(self, record_message: RecordMessage) -> None:
        self._record_message = record_message
        self._idempotency = IdempotencyMemory()

    def build_from_json(self, body: bytes, client: Client, idempotency_key: bytes | None) -> OutgoingRecord:
        """Build the record of the message in a JSON body.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        record = self.build_record(MESSAGES.decode(body), client, idempotency_key or b"")
        if idempotency_key is not None:
            self._idempotency.check(idempotency_key, body, time.monotonic())
        return record

    def build_record(self, request: MessageRequest, client: Client, idempotency_key: bytes = b"") -> OutgoingRecord:
        """Build the record of the message that a person sends.

        The text and, where given, the Idempotency-Key are in the dedupe key: writing the same again on purpose is
        another message.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        sender = self._record_message.resolve_sender(request.case, request.email)
        key = dedupe.message_key(
            sender.terms.keys.dedupe,
            sender.case.slug,
            request.kind,
            sender.address,
            request.text,
            idempotency_key=idempotency_key.decode("latin-1"),
        )
        message = Message(
            kind=request.kind, language=request.language, text=request.text, handwritten=request.handwritten
        )
        return self._record_message.build_record(sender, key, request, message, client)

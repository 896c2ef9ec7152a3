"""From a message request to the record that says it."""

from __future__ import annotations

import time

from services.letters.actions.record_message import Message, RecordMessage
from services.letters.domain.requests import MESSAGES, MessageRequest
from shared.http.client import Client
from shared.intake.idempotency import IdempotencyMemory
from shared.intake.submit import OutgoingRecord
from shared.privacy import dedupe


class WriteMessage:
    """Takes messages that people write here."""

    def __init__(self, recording: RecordMessage) -> None:
        self._recording = recording
        self._idempotency = IdempotencyMemory()

    def decide(self, body: bytes, client: Client, idempotency_key: bytes | None) -> OutgoingRecord:
        """The message in a JSON body.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        submission = self.write(MESSAGES.decode(body), client, idempotency_key or b"")
        if idempotency_key is not None:
            self._idempotency.check(idempotency_key, body, time.monotonic())
        return submission

    def write(self, request: MessageRequest, client: Client, idempotency_key: bytes = b"") -> OutgoingRecord:
        """The message that a person sends.

        The dedupe key holds the text, and the Idempotency-Key where one is given: writing the same again on purpose is
        another message.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        sender = self._recording.sender(request.case, request.email)
        key = dedupe.message_key(
            sender.opening.keys.dedupe,
            sender.case.slug,
            request.kind,
            sender.address,
            request.text,
            idempotency_key=idempotency_key.decode("latin-1"),
        )
        message = Message(
            kind=request.kind, language=request.language, text=request.text, handwritten=request.handwritten
        )
        return self._recording.submission(sender, key, request, message, client)

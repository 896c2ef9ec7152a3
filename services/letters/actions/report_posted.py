"""From what a person says they posted to the record that says it."""

from __future__ import annotations

import time

from services.letters.actions.record_message import Message, RecordMessage
from services.letters.domain.requests import POSTED, PostedRequest
from shared import codes
from shared.http.client import Client
from shared.intake.idempotency import IdempotencyMemory
from shared.intake.submit import OutgoingRecord
from shared.privacy import dedupe


class ReportPosted:
    """Takes letters and postcards that people posted themselves. Their evidence is what the person says."""

    def __init__(self, recording: RecordMessage) -> None:
        self._recording = recording
        self._idempotency = IdempotencyMemory()

    def decide(self, body: bytes, client: Client, idempotency_key: bytes | None) -> OutgoingRecord:
        """The letter or postcard that a JSON body tells of.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        submission = self.post(POSTED.decode(body), client)
        if idempotency_key is not None:
            self._idempotency.check(idempotency_key, body, time.monotonic())
        return submission

    def post(self, request: PostedRequest, client: Client) -> OutgoingRecord:
        """The letter or postcard that a person posted. Its sheet's code is in the dedupe key: the same sheet told of
        twice counts once, and the next sheet for itself.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        sender = self._recording.sender(request.case, request.email)
        key = dedupe.posted_key(
            sender.opening.keys.dedupe, sender.case.slug, request.kind, sender.address, codes.read(request.code)
        )
        message = Message(kind=request.kind, language=request.language, channel="post", evidence="self_reported")
        return self._recording.submission(sender, key, request, message, client)

"""Build the record of a letter or postcard that a person reports to have posted."""

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
    """Builds records of letters and postcards that people posted themselves. Their evidence is the person's report."""

    def __init__(self, record_message: RecordMessage) -> None:
        self._record_message = record_message
        self._idempotency = IdempotencyMemory()

    def build_from_json(self, body: bytes, client: Client, idempotency_key: bytes | None) -> OutgoingRecord:
        """Build the record of the letter or postcard that a JSON body reports.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        record = self.build_record(POSTED.decode(body), client)
        if idempotency_key is not None:
            self._idempotency.check(idempotency_key, body, time.monotonic())
        return record

    def build_record(self, request: PostedRequest, client: Client) -> OutgoingRecord:
        """Build the record of the letter or postcard that a person posted.

        The code of its sheet is in the dedupe key: the same sheet reported twice counts once, another sheet separately.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        sender = self._record_message.resolve_sender(request.case, request.email)
        key = dedupe.posted_key(
            sender.terms.keys.dedupe, sender.case.slug, request.kind, sender.address, codes.parse(request.code)
        )
        message = Message(kind=request.kind, language=request.language, channel="post", evidence="self_reported")
        return self._record_message.build_record(sender, key, request, message, client)

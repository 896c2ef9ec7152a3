"""Build the record of a message, whether it was written here or posted by its sender."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from services.letters.domain.requests import MessageRequest, PostedRequest
from shared import base64url, codes, topics
from shared.http.client import Client
from shared.intake.campaign_terms import canonicalize, find_case
from shared.intake.submission import Action, SubmissionBuilder
from shared.intake.submit import OutgoingRecord
from shared.privacy import dedupe
from shared.refusals import FieldError, invalid


class RecordMessage(SubmissionBuilder):
    """Builds the records of messages under the current terms of their campaigns."""

    topic = topics.MESSAGES

    def build_written(
        self, request: MessageRequest, client: Client, idempotency_key: bytes | None = None
    ) -> OutgoingRecord:
        """Build the record of a message that a person writes here.

        The text and, where given, the Idempotency-Key are in the dedupe key: writing the same again on purpose is
        another message.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        idempotency_text = (idempotency_key or b"").decode("latin-1")
        make_key = partial(dedupe.message_key, text=request.text, idempotency_key=idempotency_text)
        fields = {"channel": "web", "handwritten": request.handwritten}
        return self._build(request, client, make_key, fields, content=(request.handwritten,), text=request.text)

    def build_posted(
        self, request: PostedRequest, client: Client, _idempotency_key: bytes | None = None
    ) -> OutgoingRecord:
        """Build the record of a letter or postcard that a person posted themself. Its evidence is their report.

        The code of its sheet is in the dedupe key: the same sheet reported twice counts once, another sheet separately.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        make_key = partial(dedupe.posted_key, code=codes.parse(request.code))
        return self._build(request, client, make_key, {"channel": "post", "evidence": "self_reported"})

    def _build(
        self,
        request: MessageRequest | PostedRequest,
        client: Client,
        make_key: Callable[[bytes, str, str, str], bytes],
        fields: dict[str, Any],
        *,
        content: tuple[object, ...] = (),
        **sealed: str,
    ) -> OutgoingRecord:
        """Build the record; `make_key` makes the dedupe key from the campaign's key, case, kind and canonical address.

        All of a person's messages to a case go to one partition, so that one counter sees them.
        """
        case = find_case(self._catalog, request.case)
        if not case.accepts_messages:
            raise invalid([FieldError("/case", "case.no-messages")])
        terms = self._terms_cache.get(case.campaign)
        address = canonicalize(request.email, terms)
        person_id = dedupe.person_key(terms.keys.dedupe, case.slug, address)
        person_fields = {"person": base64url.encode(person_id), "daily_limit": terms.policies.letters_per_person}
        action = Action(
            subject=case.slug,
            address=address,
            key=make_key(terms.keys.dedupe, case.slug, request.kind, address),
            partition_key=person_id,
            content=(request.kind, request.language, *content),
            sealed=sealed,
            language=request.language,
            fields={"case": case.slug, "kind": request.kind, **person_fields, **fields},
        )
        return self._record_of(terms, request, client, action)

"""Build the record of a message, whether it was written here or posted by its sender."""

from __future__ import annotations

from typing import Any, NamedTuple

from services.letters.domain.requests import MessageRequest, PostedRequest
from shared import base64url, codes, topics
from shared.events.cloudevents import Envelope
from shared.events.letters import MessageSubmitted
from shared.http.client import Client
from shared.intake.campaign_terms import CampaignTerms, CatalogView, TermsCache, canonicalize, find_case
from shared.intake.submission import Action, SubmissionBuilder
from shared.intake.submit import OutgoingRecord
from shared.kafka.broker_time import BrokerTime
from shared.privacy import dedupe
from shared.refusals import FieldError, invalid


class _Sender(NamedTuple):
    """A sender and their case, by its slug. `address` is canonical."""

    case: str
    terms: CampaignTerms
    address: str


class RecordMessage:
    """Builds the records of messages under the current terms of their campaigns."""

    def __init__(
        self, catalog: CatalogView, terms_cache: TermsCache, broker_time: BrokerTime, partition_count: int
    ) -> None:
        envelope = Envelope("message-submitted", source="/letters/intake", version="1.1")
        self._builder = SubmissionBuilder(
            topics.MESSAGES,
            MessageSubmitted,
            envelope,
            catalog=catalog,
            broker_time=broker_time,
            partition_count=partition_count,
        )
        self._catalog = catalog
        self._terms_cache = terms_cache

    def build_written(
        self, request: MessageRequest, client: Client, idempotency_key: bytes | None = None
    ) -> OutgoingRecord:
        """Build the record of a message that a person writes here.

        The text and, where given, the Idempotency-Key are in the dedupe key: writing the same again on purpose is
        another message.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        sender = self._find_sender(request)
        key = dedupe.message_key(
            sender.terms.keys.dedupe,
            sender.case,
            request.kind,
            sender.address,
            request.text,
            idempotency_key=(idempotency_key or b"").decode("latin-1"),
        )
        fields = {"channel": "web", "handwritten": request.handwritten}
        return self._build(request, client, sender, key, fields, content=(request.handwritten,), text=request.text)

    def build_posted(
        self, request: PostedRequest, client: Client, _idempotency_key: bytes | None = None
    ) -> OutgoingRecord:
        """Build the record of a letter or postcard that a person posted themself. Its evidence is their report.

        The code of its sheet is in the dedupe key: the same sheet reported twice counts once, another sheet separately.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        sender = self._find_sender(request)
        key = dedupe.posted_key(
            sender.terms.keys.dedupe, sender.case, request.kind, sender.address, codes.parse(request.code)
        )
        return self._build(request, client, sender, key, {"channel": "post", "evidence": "self_reported"})

    def _find_sender(self, request: MessageRequest | PostedRequest) -> _Sender:
        case = find_case(self._catalog, request.case)
        if not case.accepts_messages:
            raise invalid([FieldError("/case", "case.no-messages")])
        terms = self._terms_cache.get(case.campaign)
        return _Sender(case.slug, terms, canonicalize(request.email, terms))

    def _build(
        self,
        request: MessageRequest | PostedRequest,
        client: Client,
        sender: _Sender,
        key: bytes,
        fields: dict[str, Any],
        *,
        content: tuple[object, ...] = (),
        **sealed: str,
    ) -> OutgoingRecord:
        """Build the record. All of a person's messages to a case go to one partition: one counter sees them."""
        case, terms, address = sender
        person_id = dedupe.person_key(terms.keys.dedupe, case, address)
        person_fields = {"person": base64url.encode(person_id), "daily_limit": terms.policies.letters_per_person}
        action = Action(
            subject=case,
            address=address,
            key=key,
            partition_key=person_id,
            content=(request.kind, request.language, *content),
            sealed=sealed,
            language=request.language,
            fields={"case": case, "kind": request.kind, **person_fields, **fields},
        )
        return self._builder.build(terms, request, client, action)

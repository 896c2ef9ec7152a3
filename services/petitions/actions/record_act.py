"""Build the record of an act that a person reports."""

from __future__ import annotations

from services.petitions.domain.requests import ActRequest
from shared import topics
from shared.events.cloudevents import Envelope
from shared.events.petitions import ActSubmitted
from shared.http.client import Client
from shared.intake.campaign_terms import CatalogView, TermsCache, canonicalize, find_case
from shared.intake.submission import Action, SubmissionBuilder
from shared.intake.submit import OutgoingRecord
from shared.kafka.broker_time import BrokerTime
from shared.privacy import dedupe


class RecordAct:
    """Builds records of shares, pledges and tasks. Their evidence is the person's report."""

    def __init__(
        self, catalog: CatalogView, terms_cache: TermsCache, broker_time: BrokerTime, partition_count: int
    ) -> None:
        envelope = Envelope("act-submitted", source="/petitions/intake", version="1.1")
        self._builder = SubmissionBuilder(
            topics.ACTS,
            ActSubmitted,
            envelope,
            catalog=catalog,
            broker_time=broker_time,
            partition_count=partition_count,
        )
        self._catalog = catalog
        self._terms_cache = terms_cache

    def build_record(
        self, request: ActRequest, client: Client, _idempotency_key: bytes | None = None
    ) -> OutgoingRecord:
        """Build the record of the act that a person reports.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        case = find_case(self._catalog, request.case)
        terms = self._terms_cache.get(case.campaign)
        address = canonicalize(request.email, terms)
        action = Action(
            subject=case.slug,
            address=address,
            key=dedupe.act_key(terms.keys.dedupe, case.slug, request.kind, address),
            content=(request.kind,),
            fields={"case": case.slug, "kind": request.kind, "channel": "web", "evidence": "self_reported"},
        )
        return self._builder.build(terms, request, client, action)

"""Build the record of an act that a person reports."""

from __future__ import annotations

from services.petitions.domain.requests import ActRequest
from shared import topics
from shared.http.client import Client
from shared.intake.campaign_terms import canonicalize, find_case
from shared.intake.submission import Action, SubmissionBuilder
from shared.intake.submit import OutgoingRecord
from shared.privacy import dedupe


class RecordAct(SubmissionBuilder):
    """Builds records of shares, pledges and tasks. Their evidence is the person's report."""

    topic = topics.ACTS

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
        return self._record_of(terms, request, client, action)

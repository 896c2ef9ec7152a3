"""Build the record of a signature."""

from __future__ import annotations

from typing import Final

from services.petitions.domain.requests import PartnerSignature, SignatureRequest
from shared import topics
from shared.events.marathon import AccessChanged, CaseChanged, Petition
from shared.events.values import Channel
from shared.http.client import Client
from shared.intake.campaign_terms import CampaignTerms, canonicalize, check_ready
from shared.intake.submission import Action, SubmissionBuilder
from shared.intake.submit import OutgoingRecord
from shared.privacy import dedupe
from shared.refusals import FieldError, Refusal, invalid

_NO_CLIENT: Final = Client("", None)
"""A partner's IP address and country are not those of the people who signed."""


class SignPetition(SubmissionBuilder):
    """Builds the records of signatures under the current terms of their campaigns."""

    topic = topics.SIGNATURES

    def find_petition(self, slug: str) -> tuple[Petition, CaseChanged, CampaignTerms]:
        """Return the petition `slug`, its case and the terms of its campaign.

        Raises:
            Refusal: 404, there is none. TransientError: the catalog has not been read, or lacks the keys.
        """
        check_ready(self._catalog)
        case = self._catalog.petitions.get(slug)
        if case is None or case.petition is None:
            raise Refusal(404, "unknown-petition", "There is no such petition.")
        return case.petition, case, self._terms_cache.get(case.campaign)

    def build_record(
        self, request: SignatureRequest, client: Client, _idempotency_key: bytes | None = None
    ) -> OutgoingRecord:
        """Build the record of the signature that a person sends.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        return self._build(request, client, "web", None, None)

    def build_partner_record(self, partner: AccessChanged, request: PartnerSignature) -> OutgoingRecord:
        """Build the record of a signature that a partner brings.

        Raises:
            Refusal: as `build_record`, or the petition is of another campaign than the partner's key.
        """
        case = self._catalog.petitions.get(request.petition)
        if case is not None and case.campaign != partner.campaign:
            raise invalid([FieldError("/petition", "petition.other-campaign")])
        return self._build(request, _NO_CLIENT, "api", partner.section, request.confirmed_at)

    def _build(
        self,
        request: SignatureRequest,
        client: Client,
        channel: Channel,
        section: str | None,
        confirmed_at: str | None,
    ) -> OutgoingRecord:
        petition, case, terms = self.find_petition(request.petition)
        address = canonicalize(request.email, terms)
        by_name = terms.policies.one_per == "email_and_name"
        names = (request.given_name, request.family_name) if by_name else None
        action = Action(
            subject=petition.slug,
            address=address,
            key=dedupe.signature_key(terms.keys.dedupe, petition.slug, address, names),
            section=section,
            fields={
                "case": case.slug,
                "kind": "signature",
                "channel": channel,
                "evidence": "confirmed" if confirmed_at else "recorded",
                "confirmed_at": confirmed_at,
                "petition_version": petition.version,
            },
        )
        return self._record_of(terms, request, client, action)

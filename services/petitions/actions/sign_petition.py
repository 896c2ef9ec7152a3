"""Build the record of a signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.petitions.domain.requests import PartnerSignature, SignatureRequest
from shared import topics
from shared.events.cloudevents import Envelope
from shared.events.marathon import AccessChanged
from shared.events.petitions import SignatureSubmitted
from shared.events.words import Channel
from shared.http.client import Client
from shared.intake.campaign_terms import CampaignTerms, CatalogView, canonicalize, check_ready, terms_of
from shared.intake.submission import Action, SubmissionBuilder
from shared.intake.submit import OutgoingRecord
from shared.kafka.broker_time import BrokerTime
from shared.privacy import dedupe
from shared.refusals import FieldError, Refusal, invalid

_NO_CLIENT: Final = Client("", None)
"""A partner's IP address and country are not those of the people who signed."""


@dataclass(frozen=True, slots=True)
class OpenPetition:
    """A petition with the terms of its campaign."""

    slug: str
    version: int
    case: str
    terms: CampaignTerms


class SignPetition:
    """Builds the records of signatures under the current terms of their campaigns."""

    def __init__(self, catalog: CatalogView, broker_time: BrokerTime, partition_count: int) -> None:
        envelope = Envelope("signature-submitted", source="/petitions/intake", version="1.1")
        self._builder = SubmissionBuilder(
            topics.SIGNATURES,
            SignatureSubmitted,
            envelope,
            catalog=catalog,
            broker_time=broker_time,
            partition_count=partition_count,
        )
        self._catalog = catalog
        self._petitions: dict[str, OpenPetition] = {}

    def on_catalog_change(self, kind: str, _slug: str) -> None:
        """Drop the cached petitions after a change of anything but totals."""
        if kind != "totals":
            self._petitions.clear()

    def find_petition(self, slug: str) -> OpenPetition:
        """Return the petition `slug`.

        Raises:
            Refusal: 404, there is none. TransientError: the catalog has not been read, or lacks the keys.
        """
        petition = self._petitions.get(slug)
        if petition is not None:
            return petition
        check_ready(self._catalog)
        case = self._catalog.petitions.get(slug)
        if case is None or case.petition is None:
            raise Refusal(404, "unknown-petition", "There is no such petition.")
        terms = terms_of(self._catalog, case.campaign)
        petition = OpenPetition(slug, case.petition.version, case.slug, terms)
        self._petitions[slug] = petition
        return petition

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
        petition = self.find_petition(request.petition)
        terms = petition.terms
        address = canonicalize(request.email, terms)
        names = (request.given_name, request.family_name) if terms.counts_names() else None
        action = Action(
            subject=petition.slug,
            address=address,
            key=dedupe.signature_key(terms.keys.dedupe, petition.slug, address, names),
            section=section,
            fields={
                "case": petition.case,
                "kind": "signature",
                "channel": channel,
                "evidence": "confirmed" if confirmed_at else "recorded",
                "confirmed_at": confirmed_at,
                "petition_version": petition.version,
            },
        )
        return self._builder.build(terms, request, client, action)

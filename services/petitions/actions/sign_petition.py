"""Build the record of a signature."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from services.petitions.domain.requests import SIGNATURES, PartnerSignature, SignatureRequest
from shared import base64url, topics
from shared.events.cloudevents import Envelope
from shared.events.marathon import AccessChanged
from shared.events.petitions import SignatureSubmitted
from shared.events.words import Channel
from shared.http.client import Client
from shared.intake import abuse_hashes
from shared.intake.campaign_terms import (
    CampaignTerms,
    CatalogView,
    canonicalize,
    check_open,
    check_ready,
    country_of,
    terms_of,
)
from shared.intake.idempotency import IdempotencyMemory
from shared.intake.languages import language_of
from shared.intake.submit import OutgoingRecord
from shared.intake.timestamps import TimestampCache
from shared.kafka.broker_time import BrokerTime
from shared.kafka.partitions import partition_of
from shared.privacy import dedupe
from shared.privacy.sealing import Person
from shared.refusals import FieldError, Refusal, invalid

TOPIC: Final = topics.SIGNATURES

_encode: Final = msgspec.json.Encoder().encode
_pack: Final = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class OpenPetition:
    """A petition with the terms of its campaign."""

    slug: str
    version: int
    case: str
    terms: CampaignTerms


class _Origin(NamedTuple):
    """The channel of a signature, and the section that brought it."""

    channel: Channel
    section: str | None = None


_WEB: Final = _Origin("web")
_NO_CLIENT: Final = Client("", None)
"""A partner's IP address and country are not those of the people who signed."""


class SignPetition:
    """Builds the records of signatures under the current terms of their campaigns."""

    def __init__(self, catalog: CatalogView, broker_time: BrokerTime, partition_count: int) -> None:
        self._catalog = catalog
        self._broker_time = broker_time
        self._partition_count = partition_count
        self._petitions: dict[str, OpenPetition] = {}
        self._envelope = Envelope("signature-submitted", source="/petitions/intake", version="1.1")
        self._timestamps = TimestampCache()
        self._idempotency = IdempotencyMemory()
        self._batch_idempotency = IdempotencyMemory()

    def on_catalog_change(self, kind: str, _slug: str) -> None:
        """Drop the cached petitions after a change of anything but totals."""
        if kind != "totals":
            self._petitions.clear()

    def build_from_json(self, body: bytes, client: Client, idempotency_key: bytes | None) -> OutgoingRecord:
        """Build the record of the signature in a JSON body.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        record = self.build_record(SIGNATURES.decode(body), client)
        if idempotency_key is not None:
            self._idempotency.check(idempotency_key, body, time.monotonic())
        return record

    def remember_batch(self, partner: AccessChanged, idempotency_key: bytes, body: bytes) -> None:
        """Remember the `body` of a batch under its Idempotency-Key, which is the partner's own.

        Raises:
            Refusal: 422, another batch came under this key, or the key is too long.
        """
        self._batch_idempotency.check(idempotency_key, body, time.monotonic(), owner=partner.id.encode())

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

    def build_record(self, request: SignatureRequest, client: Client) -> OutgoingRecord:
        """Build the record of the signature that a person sends."""
        return self._build(request, self.find_petition(request.petition), _WEB, client)

    def build_partner_record(self, partner: AccessChanged, request: PartnerSignature) -> OutgoingRecord:
        """Build the record of a signature that a partner brings.

        Raises:
            Refusal: as `build_from_json`, or the petition is of another campaign than the partner's key.
        """
        case = self._catalog.petitions.get(request.petition)
        if case is not None and case.campaign != partner.campaign:
            raise invalid([FieldError("/petition", "petition.other-campaign")])
        return self._build(request, self.find_petition(request.petition), _Origin("api", partner.section), _NO_CLIENT)

    def _build(
        self, request: SignatureRequest, petition: OpenPetition, origin: _Origin, client: Client
    ) -> OutgoingRecord:
        terms, keys = petition.terms, petition.terms.keys
        now = self._broker_time.now()
        check_open(terms, now, self._catalog.totals.get(terms.campaign))
        address = canonicalize(request.email, terms)
        names = request.given_name.strip(), request.family_name.strip()
        country = country_of(request.country, client.country)
        locale = request.locale or terms.language
        consent = request.consent
        confirmed_at = request.confirmed_at if isinstance(request, PartnerSignature) else None
        key = dedupe.signature_key(keys.dedupe, petition.slug, address, names if terms.counts_names() else None)
        postcode, comment = request.postcode or None, terms.comment_to_store(request.comment)
        person = Person(*names, request.email, postcode, comment, request.source)
        content = (*names, address, country, postcode, comment, consent.updates, consent.public_name)
        event = SignatureSubmitted(
            campaign=terms.campaign,
            case=petition.case,
            section=origin.section or terms.section_of(country),
            kind="signature",
            channel=origin.channel,
            country=country,
            language=language_of(locale) or terms.language,
            subject=petition.slug,
            petition_version=petition.version,
            digest=base64url.encode(dedupe.digest(keys.dedupe, _pack(content))),
            sealed=keys.sealer.seal(person, topic=TOPIC.name, subject=petition.slug, key=key),
            seal_key=keys.current_seal,
            locale=locale,
            evidence="confirmed" if confirmed_at else "recorded",
            confirmed_at=confirmed_at,
            public_name=consent.public_name,
            updates=consent.updates,
            network=abuse_hashes.network_hash(keys.dedupe, client.address),
            domain=abuse_hashes.domain_hash(keys.dedupe, address.rpartition("@")[2]),
        )
        headers = self._envelope.headers(self._timestamps.format(now))
        return OutgoingRecord(petition.slug, key, partition_of(key, self._partition_count), _encode(event), headers)

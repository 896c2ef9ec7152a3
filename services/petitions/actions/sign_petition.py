"""From a signature request to the record that says it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from services.petitions.domain.requests import SIGNATURES, PartnerSignature, SignatureRequest
from shared import topics
from shared.events.cloudevents import Envelope
from shared.events.marathon import AccessChanged
from shared.events.petitions import SignatureSubmitted
from shared.events.words import Channel
from shared.http.client import Client
from shared.intake import abuse_hashes
from shared.intake.campaign_terms import (
    CampaignTerms,
    CatalogView,
    canonical,
    check_open,
    check_ready,
    country_of,
    encode_hash,
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
    """A petition that is known, with the campaign it belongs to."""

    slug: str
    version: int
    case: str
    opening: CampaignTerms


class _Way(NamedTuple):
    """How a signature came to us."""

    channel: Channel
    section: str | None = None


_WEB: Final = _Way("web")
_NOBODY: Final = Client("", None)
"""A partner's machine says nothing about who signed."""


class SignPetition:
    """Takes signatures by what the catalog says at the moment."""

    def __init__(self, known: CatalogView, broker_time: BrokerTime, partitions: int) -> None:
        self._known = known
        self._broker_time = broker_time
        self._partitions = partitions
        self._petitions: dict[str, OpenPetition] = {}
        self._envelope = Envelope("signature-submitted", source="/petitions/intake")
        self._stamps = TimestampCache()
        self._idempotency = IdempotencyMemory()
        self._batches = IdempotencyMemory()

    def changed(self, what: str, _slug: str) -> None:
        """Something in the catalog has changed: ask it again."""
        if what != "totals":
            self._petitions.clear()

    def decide(self, body: bytes, client: Client, idempotency_key: bytes | None) -> OutgoingRecord:
        """The signature that a JSON body asks for.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        submission = self.sign(SIGNATURES.decode(body), client)
        if idempotency_key is not None:
            self._idempotency.check(idempotency_key, body, time.monotonic())
        return submission

    def remember_batch(self, partner: AccessChanged, idempotency_key: bytes, body: bytes) -> None:
        """Remember the `body` of a batch under its Idempotency-Key, which is the partner's own.

        Raises:
            Refusal: 422, another batch came under this key, or the key is too long.
        """
        self._batches.check(idempotency_key, body, time.monotonic(), owner=partner.id.encode())

    def find(self, slug: str) -> OpenPetition:
        """The petition `slug`.

        Raises:
            Refusal: 404, there is none. TransientError: we cannot know yet, or its keys have not arrived.
        """
        petition = self._petitions.get(slug)
        if petition is not None:
            return petition
        check_ready(self._known)
        case = self._known.petitions.get(slug)
        if case is None or case.petition is None:
            raise Refusal(404, "unknown-petition", "There is no such petition.")
        opening = terms_of(self._known, case.campaign)
        petition = OpenPetition(slug, case.petition.version, case.slug, opening)
        self._petitions[slug] = petition
        return petition

    def sign(self, request: SignatureRequest, client: Client) -> OutgoingRecord:
        """The signature that a person asks for."""
        return self._submission(request, self.find(request.petition), _WEB, client)

    def sign_for(self, partner: AccessChanged, request: PartnerSignature) -> OutgoingRecord:
        """The signature that a partner brings.

        Raises:
            Refusal: as `decide`, and where the petition is of another campaign than the partner's key.
        """
        case = self._known.petitions.get(request.petition)
        if case is not None and case.campaign != partner.campaign:
            raise invalid([FieldError("/petition", "petition.other-campaign")])
        return self._submission(request, self.find(request.petition), _Way("api", partner.section), _NOBODY)

    def _submission(
        self, request: SignatureRequest, petition: OpenPetition, way: _Way, client: Client
    ) -> OutgoingRecord:
        opening, keys = petition.opening, petition.opening.keys
        now = self._broker_time.now()
        check_open(opening, now, self._known.totals.get(opening.campaign))
        address = canonical(request.email, opening)
        names = request.given_name.strip(), request.family_name.strip()
        country = country_of(request.country, client.country)
        locale = request.locale or opening.language
        consent = request.consent
        confirmed_at = request.confirmed_at if isinstance(request, PartnerSignature) else None
        key = dedupe.signature_key(keys.dedupe, petition.slug, address, names if opening.names_count() else None)
        postcode, comment = request.postcode or None, opening.comment(request.comment)
        person = Person(*names, request.email, postcode, comment, request.source)
        said = (*names, address, country, postcode, comment, consent.updates, consent.public_name)
        event = SignatureSubmitted(
            campaign=opening.campaign,
            case=petition.case,
            section=way.section or opening.section_of(country),
            kind="signature",
            channel=way.channel,
            country=country,
            language=language_of(locale) or opening.language,
            subject=petition.slug,
            petition_version=petition.version,
            digest=encode_hash(dedupe.digest(keys.dedupe, _pack(said))),
            sealed=keys.sealer.seal(person, topic=TOPIC.name, subject=petition.slug, key=key),
            seal_key=keys.current_seal,
            locale=locale,
            evidence="confirmed" if confirmed_at else "recorded",
            confirmed_at=confirmed_at,
            public_name=consent.public_name,
            updates=consent.updates,
            network=abuse_hashes.network(keys.dedupe, client.address),
            domain=abuse_hashes.domain(keys.dedupe, address.rpartition("@")[2]),
        )
        headers = self._envelope.headers(self._stamps.text(now))
        return OutgoingRecord(petition.slug, key, partition_of(key, self._partitions), _encode(event), headers)

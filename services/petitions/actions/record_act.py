"""From an act that a person says they did to the record that says it."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from services.petitions.domain.requests import ACTS, ActRequest
from shared import topics
from shared.events.cloudevents import Envelope
from shared.events.petitions import ActSubmitted
from shared.http.client import Client
from shared.intake import abuse_hashes
from shared.intake.campaign_terms import (
    CatalogView,
    TermsCache,
    canonical,
    check_open,
    check_ready,
    country_of,
    encode_hash,
)
from shared.intake.idempotency import IdempotencyMemory
from shared.intake.languages import language_of
from shared.intake.submit import OutgoingRecord
from shared.intake.timestamps import TimestampCache
from shared.kafka.broker_time import BrokerTime
from shared.kafka.partitions import partition_of
from shared.privacy import dedupe
from shared.privacy.sealing import Person
from shared.refusals import Refusal

TOPIC: Final = topics.ACTS

_encode: Final = msgspec.json.Encoder().encode
_pack: Final = msgspec.msgpack.Encoder().encode


class RecordAct:
    """Takes shares, pledges and tasks. Their evidence is what the person says."""

    def __init__(self, known: CatalogView, openings: TermsCache, broker_time: BrokerTime, partitions: int) -> None:
        self._known = known
        self._openings = openings
        self._broker_time = broker_time
        self._partitions = partitions
        self._envelope = Envelope("act-submitted", source="/petitions/intake")
        self._stamps = TimestampCache()
        self._idempotency = IdempotencyMemory()

    def decide(self, body: bytes, client: Client, idempotency_key: bytes | None) -> OutgoingRecord:
        """The act that a JSON body tells of.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        submission = self.act(ACTS.decode(body), client)
        if idempotency_key is not None:
            self._idempotency.check(idempotency_key, body, time.monotonic())
        return submission

    def act(self, request: ActRequest, client: Client) -> OutgoingRecord:
        """The act that a person tells of."""
        check_ready(self._known)
        case = self._known.cases.get(request.case)
        if case is None:
            raise Refusal(404, "unknown-case", "There is no such case.")
        opening = self._openings.of(case.campaign)
        now = self._broker_time.now()
        check_open(opening, now, self._known.totals.get(opening.campaign))
        address = canonical(request.email, opening)
        country = country_of(request.country, client.country)
        locale = request.locale or opening.language
        keys = opening.keys
        key = dedupe.act_key(keys.dedupe, case.slug, request.kind, address)
        person = Person(
            given_name=(request.given_name or "").strip(),
            family_name=(request.family_name or "").strip(),
            email=request.email,
            postcode=request.postcode or None,
            comment=opening.comment(request.comment),
            source=request.source,
        )
        said = (request.kind, person.given_name, person.family_name, address, country, person.comment)
        event = ActSubmitted(
            campaign=opening.campaign,
            case=case.slug,
            section=opening.section_of(country),
            kind=request.kind,
            channel="web",
            country=country,
            language=language_of(locale) or opening.language,
            subject=case.slug,
            digest=encode_hash(dedupe.digest(keys.dedupe, _pack(said))),
            sealed=keys.sealer.seal(person, topic=TOPIC.name, subject=case.slug, key=key),
            seal_key=keys.current_seal,
            locale=locale,
            evidence="self_reported",
            public_name=request.consent.public_name,
            updates=request.consent.updates,
            network=abuse_hashes.network(keys.dedupe, client.address),
            domain=abuse_hashes.domain(keys.dedupe, address.rpartition("@")[2]),
        )
        headers = self._envelope.headers(self._stamps.text(now))
        return OutgoingRecord(case.slug, key, partition_of(key, self._partitions), _encode(event), headers)

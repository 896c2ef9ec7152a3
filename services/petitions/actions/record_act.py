"""Build the record of an act that a person reports."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from services.petitions.domain.requests import ACTS, ActRequest
from shared import base64url, topics
from shared.events.cloudevents import Envelope
from shared.events.petitions import ActSubmitted
from shared.http.client import Client
from shared.intake import abuse_hashes
from shared.intake.campaign_terms import (
    CatalogView,
    TermsCache,
    canonicalize,
    check_open,
    check_ready,
    country_of,
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
    """Builds records of shares, pledges and tasks. Their evidence is the person's report."""

    def __init__(
        self, catalog: CatalogView, terms_cache: TermsCache, broker_time: BrokerTime, partition_count: int
    ) -> None:
        self._catalog = catalog
        self._terms_cache = terms_cache
        self._broker_time = broker_time
        self._partition_count = partition_count
        self._envelope = Envelope("act-submitted", source="/petitions/intake", version="1.1")
        self._timestamps = TimestampCache()
        self._idempotency = IdempotencyMemory()

    def build_from_json(self, body: bytes, client: Client, idempotency_key: bytes | None) -> OutgoingRecord:
        """Build the record of the act that a JSON body reports.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        record = self.build_record(ACTS.decode(body), client)
        if idempotency_key is not None:
            self._idempotency.check(idempotency_key, body, time.monotonic())
        return record

    def build_record(self, request: ActRequest, client: Client) -> OutgoingRecord:
        """Build the record of the act that a person reports."""
        check_ready(self._catalog)
        case = self._catalog.cases.get(request.case)
        if case is None:
            raise Refusal(404, "unknown-case", "There is no such case.")
        terms = self._terms_cache.get(case.campaign)
        now = self._broker_time.now()
        check_open(terms, now, self._catalog.totals.get(terms.campaign))
        address = canonicalize(request.email, terms)
        country = country_of(request.country, client.country)
        locale = request.locale or terms.language
        keys = terms.keys
        key = dedupe.act_key(keys.dedupe, case.slug, request.kind, address)
        person = Person(
            given_name=(request.given_name or "").strip(),
            family_name=(request.family_name or "").strip(),
            email=request.email,
            postcode=request.postcode or None,
            comment=terms.comment_to_store(request.comment),
            source=request.source,
        )
        content = (request.kind, person.given_name, person.family_name, address, country, person.comment)
        event = ActSubmitted(
            campaign=terms.campaign,
            case=case.slug,
            section=terms.section_of(country),
            kind=request.kind,
            channel="web",
            country=country,
            language=language_of(locale) or terms.language,
            subject=case.slug,
            digest=base64url.encode(dedupe.digest(keys.dedupe, _pack(content))),
            sealed=keys.sealer.seal(person, topic=TOPIC.name, subject=case.slug, key=key),
            seal_key=keys.current_seal,
            locale=locale,
            evidence="self_reported",
            public_name=request.consent.public_name,
            updates=request.consent.updates,
            network=abuse_hashes.network_hash(keys.dedupe, client.address),
            domain=abuse_hashes.domain_hash(keys.dedupe, address.rpartition("@")[2]),
        )
        headers = self._envelope.headers(self._timestamps.format(now))
        return OutgoingRecord(case.slug, key, partition_of(key, self._partition_count), _encode(event), headers)

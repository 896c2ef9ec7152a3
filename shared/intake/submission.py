"""Builds the records of submitted actions: what signatures, acts and messages have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from shared import base64url
from shared.catalog import Catalog
from shared.clock import rfc3339
from shared.countries import UNKNOWN
from shared.events.classes import EVENTS
from shared.events.cloudevents import Envelope
from shared.http.client import Client
from shared.intake.campaign_terms import CampaignTerms, TermsCache, check_open
from shared.intake.languages import language_of
from shared.intake.person_fields import PersonFields
from shared.intake.submit import OutgoingRecord
from shared.kafka.broker_time import BrokerTime
from shared.kafka.partitions import partition_of
from shared.privacy import dedupe
from shared.privacy.sealing import Person
from shared.topics import Topic

_encode: Final = msgspec.json.Encoder().encode
_pack: Final = msgspec.msgpack.Encoder().encode


class Action(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one action has of its own, about the petition or case `subject`.

    `key` is the dedupe key of the canonical `address`, and `partition_key`, by default `key`, chooses the partition.
    `sealed` are the fields of `Person` that only this action has; those that are filled in and `content` are in the
    digest beside the person's own, so that a new field changes no digest of who leaves it empty. `section` and
    `language` replace those of the country and the locale, and `fields` are the other fields of the event.
    """

    subject: str
    address: str
    key: bytes
    fields: Mapping[str, Any]
    partition_key: bytes | None = None
    content: tuple[object, ...] = ()
    sealed: Mapping[str, str] = {}
    section: str | None = None
    language: str | None = None


class SubmissionBuilder:
    """Builds the records of `topic` under the current terms of their campaigns; subclasses know the actions.

    Args:
        catalog: has the totals with which a closed campaign refuses actions.
        terms_cache: has the terms of the campaigns.
        broker_time: the time by which campaigns open and close.
        partition_count: the number of partitions of the topic in this environment.
    """

    topic: ClassVar[Topic]

    def __init__(
        self, catalog: Catalog, terms_cache: TermsCache, broker_time: BrokerTime, partition_count: int
    ) -> None:
        submitted = self.topic.events[0]
        self._event = EVENTS[submitted]
        self._envelope = Envelope(submitted, source=f"/{self.topic.owner}/intake", version="1.1")
        self._topic = self.topic.name
        self._catalog = catalog
        self._terms_cache = terms_cache
        self._broker_time = broker_time
        self._partition_count = partition_count
        self._millisecond, self._time = -1, b""

    def _record_of(self, terms: CampaignTerms, request: PersonFields, client: Client, action: Action) -> OutgoingRecord:
        """Build the record of `action`, which the person in `request` does from `client`.

        Raises:
            Refusal: the campaign is not open.
        """
        now = self._broker_time.now()
        check_open(terms, now, self._catalog.totals)
        keys, subject, address, key = terms.keys, action.subject, action.address, action.key
        given_name, family_name = (request.given_name or "").strip(), (request.family_name or "").strip()
        country = request.country or client.country or UNKNOWN
        locale = request.locale or terms.language
        postcode, comment = request.postcode or None, "" if terms.policies.safety_mode else request.comment
        updates, public_name = request.consent.updates, request.consent.public_name
        person = Person(given_name, family_name, request.email, postcode, comment, request.source, **action.sealed)
        digested: list[object] = [given_name, family_name, address, country, postcode, comment, updates, public_name]
        digested += action.content
        digested += [item for item in action.sealed.items() if item[1]]
        event = self._event(
            campaign=terms.campaign,
            section=action.section or terms.sections.get(country),
            country=country,
            language=action.language or language_of(locale) or terms.language,
            subject=subject,
            digest=base64url.encode(dedupe.digest(keys.dedupe, _pack(digested))),
            sealed=keys.sealer.seal(person, topic=self._topic, subject=subject, key=key),
            seal_key=keys.current_seal,
            locale=locale,
            public_name=public_name,
            updates=updates,
            network=dedupe.network_hash(keys.dedupe, client.address),
            domain=dedupe.domain_hash(keys.dedupe, address.rpartition("@")[2]),
            **action.fields,
        )
        partition = partition_of(action.partition_key or key, self._partition_count)
        return OutgoingRecord(subject, key, partition, _encode(event), self._envelope.headers(self._format_time(now)))

    def _format_time(self, now: float) -> bytes:
        """Return `now` as events carry it, formatted once a millisecond, because many requests share one."""
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond, self._time = millisecond, rfc3339(now).encode("ascii")
        return self._time

"""Build the record of a message, whether it was written here or posted by its sender."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from shared import base64url, topics
from shared.events.cloudevents import Envelope
from shared.events.letters import MessageSubmitted
from shared.events.marathon import CaseChanged
from shared.events.words import Channel, Evidence, MessageKind
from shared.http.client import Client
from shared.intake import abuse_hashes
from shared.intake.campaign_terms import (
    CampaignTerms,
    CatalogView,
    TermsCache,
    canonicalize,
    check_open,
    check_ready,
    country_of,
)
from shared.intake.person_fields import PersonFields
from shared.intake.submit import OutgoingRecord
from shared.intake.timestamps import TimestampCache
from shared.kafka.broker_time import BrokerTime
from shared.kafka.partitions import partition_of
from shared.privacy import dedupe
from shared.privacy.sealing import Person
from shared.refusals import FieldError, Refusal, invalid

TOPIC: Final = topics.MESSAGES

_encode: Final = msgspec.json.Encoder().encode
_pack: Final = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Sender:
    """A sender and their case. `address` is canonical, `now` the broker's time in seconds since 1970."""

    case: CaseChanged
    terms: CampaignTerms
    address: str
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message without its sender. `text` is empty where it was never sent to us."""

    kind: MessageKind
    language: str
    text: str = ""
    handwritten: bool = False
    channel: Channel = "web"
    evidence: Evidence = "recorded"


class RecordMessage:
    """Builds the records of messages under the current terms of their campaigns."""

    def __init__(
        self, catalog: CatalogView, terms_cache: TermsCache, broker_time: BrokerTime, partition_count: int
    ) -> None:
        self._catalog = catalog
        self._terms_cache = terms_cache
        self._broker_time = broker_time
        self._partition_count = partition_count
        self._envelope = Envelope("message-submitted", source="/letters/intake", version="1.1")
        self._timestamps = TimestampCache()

    def resolve_sender(self, slug: str, email: str) -> Sender:
        """Return the sender with the address `email` to the case `slug`.

        Raises:
            Refusal: there is no such case, it takes no messages, or its campaign is not open. TransientError: the
            catalog has not been read, or lacks the campaign or its keys.
        """
        case = self._find_case(slug)
        terms = self._terms_cache.get(case.campaign)
        now = self._broker_time.now()
        check_open(terms, now, self._catalog.totals.get(terms.campaign))
        return Sender(case, terms, canonicalize(email, terms), now)

    def build_record(
        self, sender: Sender, key: bytes, request: PersonFields, message: Message, client: Client
    ) -> OutgoingRecord:
        """Build the record under the dedupe `key`.

        All of a person's messages to a case go to one partition, so that one counter sees them.
        """
        case, terms, address = sender.case, sender.terms, sender.address
        keys, consent = terms.keys, request.consent
        country = country_of(request.country, client.country)
        person_id = dedupe.person_key(keys.dedupe, case.slug, address)
        person = Person(
            given_name=request.given_name.strip(),
            family_name=request.family_name.strip(),
            email=request.email,
            postcode=request.postcode or None,
            comment=terms.comment_to_store(request.comment),
            source=request.source,
            text=message.text,
        )
        content = (
            *(message.kind, message.text, message.language, message.handwritten),
            *(person.given_name, person.family_name, address, country, person.postcode, person.comment),
            *(consent.updates, consent.public_name),
        )
        event = MessageSubmitted(
            campaign=terms.campaign,
            case=case.slug,
            section=terms.section_of(country),
            kind=message.kind,
            channel=message.channel,
            country=country,
            language=message.language,
            subject=case.slug,
            digest=base64url.encode(dedupe.digest(keys.dedupe, _pack(content))),
            sealed=keys.sealer.seal(person, topic=TOPIC.name, subject=case.slug, key=key),
            seal_key=keys.current_seal,
            locale=request.locale or terms.language,
            evidence=message.evidence,
            public_name=consent.public_name,
            updates=consent.updates,
            network=abuse_hashes.network_hash(keys.dedupe, client.address),
            domain=abuse_hashes.domain_hash(keys.dedupe, address.rpartition("@")[2]),
            person=base64url.encode(person_id),
            daily_limit=terms.policies.letters_per_person,
            handwritten=message.handwritten,
        )
        headers = self._envelope.headers(self._timestamps.format(sender.now))
        return OutgoingRecord(case.slug, key, partition_of(person_id, self._partition_count), _encode(event), headers)

    def _find_case(self, slug: str) -> CaseChanged:
        check_ready(self._catalog)
        case = self._catalog.cases.get(slug)
        if case is None:
            raise Refusal(404, "unknown-case", "There is no such case.")
        if not case.accepts_messages:
            raise invalid([FieldError("/case", "case.no-messages")])
        return case

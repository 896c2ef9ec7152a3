"""From what a person sends to the record that says it, whether it was written here or posted by themself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from shared import topics
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
    canonical,
    check_open,
    check_ready,
    country_of,
    encode_hash,
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
    """Who sends to which case: `address` is canonical, `now` the broker's time in seconds since 1970."""

    case: CaseChanged
    opening: CampaignTerms
    address: str
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent, beside who sends it. `text` is empty where it never came to us."""

    kind: MessageKind
    language: str
    text: str = ""
    handwritten: bool = False
    channel: Channel = "web"
    evidence: Evidence = "recorded"


class RecordMessage:
    """Makes the records of messages, by what the catalog says at the moment."""

    def __init__(self, known: CatalogView, openings: TermsCache, broker_time: BrokerTime, partitions: int) -> None:
        self._known = known
        self._openings = openings
        self._broker_time = broker_time
        self._partitions = partitions
        self._envelope = Envelope("message-submitted", source="/letters/intake")
        self._stamps = TimestampCache()

    def sender(self, slug: str, email: str) -> Sender:
        """Who writes from `email` to the case `slug`.

        Raises:
            Refusal: there is no such case, it takes no messages, or its campaign is not open. TransientError: nobody
            can know yet.
        """
        case = self._find(slug)
        opening = self._openings.of(case.campaign)
        now = self._broker_time.now()
        check_open(opening, now, self._known.totals.get(opening.campaign))
        return Sender(case, opening, canonical(email, opening), now)

    def submission(
        self, sender: Sender, key: bytes, request: PersonFields, message: Message, client: Client
    ) -> OutgoingRecord:
        """The record under the dedupe `key`. All of a person's messages to a case go to one partition, so that one
        counter sees them.
        """
        case, opening, address = sender.case, sender.opening, sender.address
        keys, consent = opening.keys, request.consent
        country = country_of(request.country, client.country)
        writer = dedupe.person_key(keys.dedupe, case.slug, address)
        person = Person(
            given_name=request.given_name.strip(),
            family_name=request.family_name.strip(),
            email=request.email,
            postcode=request.postcode or None,
            comment=opening.comment(request.comment),
            source=request.source,
            text=message.text,
        )
        said = (
            *(message.kind, message.text, message.language, message.handwritten),
            *(person.given_name, person.family_name, address, country, person.postcode, person.comment),
            *(consent.updates, consent.public_name),
        )
        event = MessageSubmitted(
            campaign=opening.campaign,
            case=case.slug,
            section=opening.section_of(country),
            kind=message.kind,
            channel=message.channel,
            country=country,
            language=message.language,
            subject=case.slug,
            digest=encode_hash(dedupe.digest(keys.dedupe, _pack(said))),
            sealed=keys.sealer.seal(person, topic=TOPIC.name, subject=case.slug, key=key),
            seal_key=keys.current_seal,
            locale=request.locale or opening.language,
            evidence=message.evidence,
            public_name=consent.public_name,
            updates=consent.updates,
            network=abuse_hashes.network(keys.dedupe, client.address),
            domain=abuse_hashes.domain(keys.dedupe, address.rpartition("@")[2]),
            person=encode_hash(writer),
            daily_limit=opening.policies.letters_per_person,
            handwritten=message.handwritten,
        )
        headers = self._envelope.headers(self._stamps.text(sender.now))
        return OutgoingRecord(case.slug, key, partition_of(writer, self._partitions), _encode(event), headers)

    def _find(self, slug: str) -> CaseChanged:
        check_ready(self._known)
        case = self._known.cases.get(slug)
        if case is None:
            raise Refusal(404, "unknown-case", "There is no such case.")
        if not case.accepts_messages:
            raise invalid([FieldError("/case", "case.no-messages")])
        return case

"""From a message request to the record that says it."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from services.letters.domain.requests import MESSAGES, MessageRequest
from shared import topics
from shared.events.cloudevents import Envelope
from shared.events.letters import MessageSubmitted
from shared.events.marathon import CaseChanged
from shared.http.client import Client
from shared.intake import marks
from shared.intake.idempotency import IdempotencyMemory
from shared.intake.openings import Known, Openings, canonical, check_open, check_ready, country_of, encoded
from shared.intake.stamps import Stamps
from shared.intake.taking import Submission
from shared.kafka.brokertime import BrokerTime
from shared.kafka.partitions import partition_of
from shared.privacy import dedupe
from shared.privacy.sealing import Person
from shared.refusals import FieldError, Refusal, invalid

TOPIC: Final = topics.MESSAGES

_encode: Final = msgspec.json.Encoder().encode
_pack: Final = msgspec.msgpack.Encoder().encode


class Writing:
    """Takes messages by what the catalog says at the moment."""

    def __init__(self, known: Known, openings: Openings, broker_time: BrokerTime, partitions: int) -> None:
        self._known = known
        self._openings = openings
        self._broker_time = broker_time
        self._partitions = partitions
        self._envelope = Envelope("message-submitted", source="/letters/intake")
        self._stamps = Stamps()
        self._idempotency = IdempotencyMemory()

    def decide(self, body: bytes, client: Client, idempotency_key: bytes | None) -> Submission:
        """The message in a JSON body.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        submission = self.write(MESSAGES.read(body), client, idempotency_key or b"")
        if idempotency_key is not None:
            self._idempotency.check(idempotency_key, body, time.monotonic())
        return submission

    def write(self, request: MessageRequest, client: Client, idempotency_key: bytes = b"") -> Submission:
        """The message that a person sends.

        All of a person's messages to a case go to one partition, so that one counter sees them. The dedupe key holds
        the text, and the Idempotency-Key where one is given: writing the same again on purpose is another message.

        Raises:
            Refusal: it cannot be taken. TransientError: it cannot be taken now.
        """
        case = self._find(request.case)
        opening = self._openings.of(case.campaign)
        now = self._broker_time.now()
        check_open(opening, now, self._known.totals.get(opening.campaign))
        keys, consent = opening.keys, request.consent
        address = canonical(request.email, opening)
        country = country_of(request.country, client.country)
        writer = dedupe.person_key(keys.dedupe, case.slug, address)
        again = idempotency_key.decode("latin-1")
        key = dedupe.message_key(keys.dedupe, case.slug, request.kind, address, request.text, idempotency_key=again)
        person = Person(
            given_name=request.given_name.strip(),
            family_name=request.family_name.strip(),
            email=request.email,
            postcode=request.postcode or None,
            comment=opening.comment(request.comment),
            source=request.source,
            text=request.text,
        )
        said = (
            *(request.kind, request.text, request.language, request.handwritten),
            *(person.given_name, person.family_name, address, country, person.postcode, person.comment),
            *(consent.updates, consent.public_name),
        )
        event = MessageSubmitted(
            campaign=opening.campaign,
            case=case.slug,
            section=opening.section_of(country),
            kind=request.kind,
            channel="web",
            country=country,
            language=request.language,
            subject=case.slug,
            digest=encoded(dedupe.digest(keys.dedupe, _pack(said))),
            sealed=keys.sealer.seal(person, topic=TOPIC.name, subject=case.slug, key=key),
            seal_key=keys.current_seal,
            locale=request.locale or opening.language,
            public_name=consent.public_name,
            updates=consent.updates,
            network=marks.network(keys.dedupe, client.address),
            domain=marks.domain(keys.dedupe, address.rpartition("@")[2]),
            person=encoded(writer),
            daily_limit=opening.policies.letters_per_person,
            handwritten=request.handwritten,
        )
        headers = self._envelope.headers(self._stamps.text(now))
        return Submission(case.slug, key, partition_of(writer, self._partitions), _encode(event), headers)

    def _find(self, slug: str) -> CaseChanged:
        check_ready(self._known)
        case = self._known.cases.get(slug)
        if case is None:
            raise Refusal(404, "unknown-case", "There is no such case.")
        if not case.accepts_messages:
            raise invalid([FieldError("/case", "case.no-messages")])
        return case

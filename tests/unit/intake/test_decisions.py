"""What an intake decides before it produces a record: what must wait, what is refused, and the dedupe keys."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from services.letters.actions.record_message import RecordMessage
from services.letters.domain.requests import MESSAGES, POSTED
from services.petitions.actions.record_act import RecordAct
from services.petitions.actions.sign_petition import SignPetition
from services.petitions.domain.requests import ACTS, SIGNATURES
from shared import codes, topics
from shared.catalog import Catalog
from shared.errors import TransientError
from shared.events.marathon import Section
from shared.http.client import Client
from shared.intake.campaign_terms import CampaignTerms, TermsCache
from shared.intake.person_fields import PersonFields
from shared.intake.submission import Action
from shared.intake.submit import OutgoingRecord, SubmitEndpoint
from shared.kafka.broker_time import BrokerTime
from shared.privacy.receipts import Receipts
from shared.refusals import Refusal
from tests.support.clock import ManualClock
from tests.support.intakes import message, posted, signature
from tests.support.seeding import Seed

NOW = 1_800_000_000.0
CLIENT = Client("192.0.2.1", None)
RecordBuilder = Callable[[bytes, Client, bytes | None], OutgoingRecord]


class StubCatalog(Catalog):
    """A catalog that is filled without Kafka."""

    def __init__(self, *seeds: Seed) -> None:
        super().__init__("nowhere", opener=_Opener())
        for seed in seeds:
            for _name, _key, event in seed.events(_Wrapper()):  # type: ignore[arg-type]
                self._apply(event)  # type: ignore[arg-type]
        self.ready = True


class _Wrapper:
    """Creates keys that are not wrapped."""

    def create(self) -> bytes:
        return b"k" * 32


class _Opener:
    def open(self, wrapped: bytes) -> bytes:
        return wrapped


def record_builders(
    catalog: StubCatalog, clock: ManualClock | None = None
) -> tuple[RecordBuilder, RecordBuilder, RecordBuilder, RecordBuilder]:
    """Return the record builders of signatures, messages, acts and posted letters, over one catalog."""
    broker_time = BrokerTime(clock or ManualClock(NOW))
    terms_cache = TermsCache(catalog)
    sign_petition = SignPetition(catalog, terms_cache, broker_time, 4)
    catalog.on_change(terms_cache.on_catalog_change)
    record_message = RecordMessage(catalog, terms_cache, broker_time, 4)
    record_act = RecordAct(catalog, terms_cache, broker_time, 4)
    receipts = Receipts(b"r" * 32, ())
    return (
        SubmitEndpoint(topics.SIGNATURES, SIGNATURES, sign_petition.build_record, {}, receipts).build_from_json,
        SubmitEndpoint(topics.MESSAGES, MESSAGES, record_message.build_written, {}, receipts).build_from_json,
        SubmitEndpoint(topics.ACTS, ACTS, record_act.build_record, {}, receipts).build_from_json,
        SubmitEndpoint(topics.MESSAGES, POSTED, record_message.build_posted, {}, receipts).build_from_json,
    )


def posted_record(catalog: StubCatalog, seed: Seed, **changes: Any) -> OutgoingRecord:
    """Return the record of a letter that a person reports to have posted."""
    return record_builders(catalog)[3](json.dumps(posted(seed, **changes)).encode(), CLIENT, None)


def test_a_sheet_told_of_twice_is_one_letter_and_the_next_sheet_another(seed: Seed) -> None:
    catalog = StubCatalog(seed)
    first = posted_record(catalog, seed)
    assert posted_record(catalog, seed, code="7kq4 m2xd 9fj4").key == first.key
    others = [
        posted_record(catalog, seed, code=codes.encode(7)),
        posted_record(catalog, seed, kind="postcard"),
        posted_record(catalog, seed, email="bea@example.org"),
    ]
    assert len({first.key, *(other.key for other in others)}) == 4
    written = record_builders(catalog)[1](json.dumps(message(seed)).encode(), CLIENT, None)
    assert written.key != first.key
    assert written.partition == first.partition == others[0].partition


def act(seed: Seed) -> dict[str, Any]:
    return {"case": seed.case, "kind": "share", "email": "ana@example.org", "consent": {"privacy": True}}


def good_bodies(seed: Seed) -> list[bytes]:
    """Return a good body for each record builder."""
    return [json.dumps(body).encode() for body in (signature(seed), message(seed), act(seed), posted(seed))]


@pytest.fixture
def seed() -> Seed:
    return Seed("w4r", NOW)


def test_everything_waits_until_the_catalog_is_read(seed: Seed) -> None:
    catalog = StubCatalog(seed)
    catalog.ready = False
    for build, body in zip(record_builders(catalog), good_bodies(seed), strict=True):
        with pytest.raises(TransientError):
            build(body, CLIENT, None)
    catalog.ready = True
    for build, body in zip(record_builders(catalog), good_bodies(seed), strict=True):
        assert isinstance(build(body, CLIENT, None), OutgoingRecord)


def test_everything_waits_for_keys(seed: Seed) -> None:
    seed.with_keys = False
    for build, body in zip(record_builders(StubCatalog(seed)), good_bodies(seed), strict=True):
        with pytest.raises(TransientError):
            build(body, CLIENT, None)


def test_nothing_is_taken_before_a_campaign_opens_nor_after_it_closes(seed: Seed) -> None:
    clock = ManualClock(NOW)
    builders = record_builders(StubCatalog(seed), clock)
    for moment, status in ((NOW - 3_600.001, 422), (NOW - 3_600, None), (NOW + 86_399.999, None), (NOW + 86_400, 410)):
        clock.set(moment)
        for build, body in zip(builders, good_bodies(seed), strict=True):
            if status is None:
                build(body, CLIENT, None)
                continue
            with pytest.raises(Refusal) as refused:
                build(body, CLIENT, None)
            assert refused.value.status == status


def test_a_change_of_the_campaign_holds_at_once(seed: Seed) -> None:
    catalog = StubCatalog(seed)
    builders = record_builders(catalog)
    for build, body in zip(builders, good_bodies(seed), strict=True):
        build(body, CLIENT, None)
    catalog._apply(msgspec.structs.replace(catalog.campaigns["w4r"], version=2, closes="2020-01-01T00:00:00Z"))
    for build, body in zip(builders, good_bodies(seed), strict=True):
        with pytest.raises(Refusal, match="closed"):
            build(body, CLIENT, None)


def test_one_mailbox_signs_once_unless_the_campaign_counts_names(seed: Seed) -> None:
    def keys(one_per: str) -> set[bytes]:
        sign = record_builders(StubCatalog(Seed("w4r", NOW, policies={"one_per": one_per})))[0]
        people = (("Ana", "ana.diaz@gmail.com"), ("Ana", "AnaDiaz+x@googlemail.com"), ("Bob", "ana.diaz@gmail.com"))
        bodies = (signature(seed, given_name=name, email=email) for name, email in people)
        return {sign(json.dumps(body).encode(), CLIENT, None).key for body in bodies}

    assert len(keys("email")) == 1
    assert len(keys("email_and_name")) == 2


def test_where_a_person_acts_from_is_kept_only_as_a_mark(seed: Seed) -> None:
    sign = record_builders(StubCatalog(seed))[0]
    body = json.dumps(signature(seed, country=None)).encode()
    events = [
        json.loads(sign(body, Client(address, country), None).value)
        for address, country in (("192.0.2.1", None), ("192.0.2.77", "DE"), ("198.51.100.1", None), ("", None))
    ]
    assert [event["country"] for event in events] == ["ZZ", "DE", "ZZ", "ZZ"]
    assert events[0]["network"] == events[1]["network"] != events[2]["network"]
    assert events[3]["network"] == ""
    assert b64encode(b"192.0.2")[:4].decode() not in json.dumps(events)


def test_the_section_is_that_of_the_country_and_the_language_that_of_text_locale_or_campaign(seed: Seed) -> None:
    seed.sections = (Section(slug="north", name="North", countries=("SE",)),)
    for build, body in zip(record_builders(StubCatalog(seed)), good_bodies(seed), strict=True):
        events = [
            json.loads(build(json.dumps({**json.loads(body), "country": country}).encode(), CLIENT, None).value)
            for country in ("SE", "FR")
        ]
        assert [(event["section"], event["country"]) for event in events] == [("north", "SE"), (None, "FR")]
        document = {"locale": "en", **json.loads(body)}
        assert {event["language"] for event in events} == {document.get("language", document["locale"])}


@pytest.mark.parametrize(
    "change", [{"comment": "Now!"}, {"postcode": "1"}, {"consent": {"privacy": True, "updates": True}}]
)
def test_a_repeat_with_other_data_has_the_same_key_and_another_digest(seed: Seed, change: dict[str, Any]) -> None:
    for build, body in zip(record_builders(StubCatalog(seed)), good_bodies(seed), strict=True):
        first, again, other = (
            build(json.dumps({**json.loads(body), **changed}).encode(), CLIENT, None) for changed in ({}, {}, change)
        )
        digests = [json.loads(record.value)["digest"] for record in (first, again, other)]
        assert first.key == other.key
        assert digests[0] == digests[1] != digests[2]


class ActWithAnotherField(RecordAct):
    """Builds records of acts with a sealed field that is `text`."""

    text: str | None = None

    def _record_of(self, terms: CampaignTerms, request: PersonFields, client: Client, action: Action) -> OutgoingRecord:
        sealed = {} if self.text is None else {"text": self.text}
        return super()._record_of(terms, request, client, msgspec.structs.replace(action, sealed=sealed))


def test_a_sealed_field_that_is_left_empty_changes_no_digest(seed: Seed) -> None:
    catalog = StubCatalog(seed)
    builder = ActWithAnotherField(catalog, TermsCache(catalog), BrokerTime(ManualClock(NOW)), 4)
    request = ACTS.decode(json.dumps(act(seed)).encode())

    def digest(text: str | None) -> str:
        builder.text = text
        return str(json.loads(builder.build_record(request, CLIENT).value)["digest"])

    assert digest(None) == digest("") != digest("Hello")


def test_a_refused_request_does_not_use_up_its_idempotency_key(seed: Seed) -> None:
    sign = record_builders(StubCatalog(seed))[0]
    with pytest.raises(Refusal):
        sign(json.dumps(signature(seed, email="nowhere")).encode(), CLIENT, b"k")
    sign(json.dumps(signature(seed)).encode(), CLIENT, b"k")


def test_a_case_that_takes_no_messages_says_so(seed: Seed) -> None:
    catalog = StubCatalog(seed)
    catalog._apply(msgspec.structs.replace(catalog.cases[seed.case], accepts_messages=False))
    with pytest.raises(Refusal) as refused:
        record_builders(catalog)[1](good_bodies(seed)[1], CLIENT, None)
    assert [error.code for error in refused.value.errors] == ["case.no-messages"]

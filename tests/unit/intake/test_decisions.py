"""What an intake decides before anything is produced: who waits, who is refused, and by which keys."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import msgspec
import pytest

from services.letters.actions.record_message import RecordMessage
from services.letters.actions.report_posted import ReportPosted
from services.letters.actions.write_message import WriteMessage
from services.petitions.actions.record_act import RecordAct
from services.petitions.actions.sign_petition import SignPetition
from shared import codes
from shared.catalog import Catalog
from shared.clock import SetClock
from shared.errors import TransientError
from shared.http.client import Client
from shared.intake.campaign_terms import TermsCache
from shared.intake.submit import Decide, OutgoingRecord
from shared.kafka.broker_time import BrokerTime
from shared.refusals import Refusal
from tests.support.intakes import message, posted, signature
from tests.support.seeding import Seed

NOW = 1_800_000_000.0
CLIENT = Client("192.0.2.1", None)


class Known(Catalog):
    """A catalog that is told what it holds."""

    def __init__(self, *seeds: Seed) -> None:
        super().__init__("nowhere", opener=_Opener())
        for seed in seeds:
            for _name, _key, event in seed.events(_Wrapper()):  # type: ignore[arg-type]
                self._apply(event)  # type: ignore[arg-type]
        self.ready = True


class _Wrapper:
    """Keys that are not wrapped at all."""

    def create(self) -> bytes:
        return b"k" * 32


class _Opener:
    def open(self, wrapped: bytes) -> bytes:
        return wrapped


def deciders(known: Known, clock: SetClock | None = None) -> tuple[Decide, Decide, Decide]:
    """What decides on signatures, messages and acts, over one catalog."""
    broker_time = BrokerTime(clock or SetClock(NOW))
    openings = TermsCache(known)
    signing = SignPetition(known, broker_time, 4)
    known.on_change(signing.changed)
    known.on_change(openings.changed)
    writing = WriteMessage(RecordMessage(known, openings, broker_time, 4))
    acting = RecordAct(known, openings, broker_time, 4)
    return signing.decide, writing.decide, acting.decide


def posting(known: Known) -> ReportPosted:
    """What decides on letters that people posted themselves."""
    return ReportPosted(RecordMessage(known, TermsCache(known), BrokerTime(SetClock(NOW)), 4))


def told(known: Known, seed: Seed, **changes: Any) -> OutgoingRecord:
    """The record of a letter that a person says they posted."""
    body = json.dumps(posted(seed, **changes)).encode()
    return posting(known).decide(body, CLIENT, None)


def test_a_sheet_told_of_twice_is_one_letter_and_the_next_sheet_another(seed: Seed) -> None:
    known = Known(seed)
    first = told(known, seed)
    assert told(known, seed, code="7kq4 m2xd 9fj4").key == first.key
    others = [
        told(known, seed, code=codes.written(7)),
        told(known, seed, kind="postcard"),
        told(known, seed, email="bea@example.org"),
    ]
    assert len({first.key, *(other.key for other in others)}) == 4
    written = deciders(known)[1](json.dumps(message(seed)).encode(), CLIENT, None)
    assert written.key != first.key
    assert written.partition == first.partition == others[0].partition


def act(seed: Seed) -> dict[str, Any]:
    return {"case": seed.case, "kind": "share", "email": "ana@example.org", "consent": {"privacy": True}}


def asked(seed: Seed) -> tuple[bytes, bytes, bytes]:
    """A good body for each decider."""
    first, second, third = (json.dumps(body).encode() for body in (signature(seed), message(seed), act(seed)))
    return first, second, third


@pytest.fixture
def seed() -> Seed:
    return Seed("w4r", NOW)


def test_everything_waits_until_the_catalog_is_read(seed: Seed) -> None:
    known = Known(seed)
    known.ready = False
    for decide, body in zip(deciders(known), asked(seed), strict=True):
        with pytest.raises(TransientError):
            decide(body, CLIENT, None)
    known.ready = True
    for decide, body in zip(deciders(known), asked(seed), strict=True):
        assert isinstance(decide(body, CLIENT, None), OutgoingRecord)


def test_everything_waits_for_keys(seed: Seed) -> None:
    seed.with_keys = False
    for decide, body in zip(deciders(Known(seed)), asked(seed), strict=True):
        with pytest.raises(TransientError):
            decide(body, CLIENT, None)


def test_nothing_is_taken_before_a_campaign_opens_nor_after_it_closes(seed: Seed) -> None:
    clock = SetClock(NOW)
    each = deciders(Known(seed), clock)
    for moment, status in ((NOW - 3_600.001, 422), (NOW - 3_600, None), (NOW + 86_399.999, None), (NOW + 86_400, 410)):
        clock.set(moment)
        for decide, body in zip(each, asked(seed), strict=True):
            if status is None:
                decide(body, CLIENT, None)
                continue
            with pytest.raises(Refusal) as refused:
                decide(body, CLIENT, None)
            assert refused.value.status == status


def test_a_change_of_the_campaign_holds_at_once(seed: Seed) -> None:
    known = Known(seed)
    each = deciders(known)
    for decide, body in zip(each, asked(seed), strict=True):
        decide(body, CLIENT, None)
    known._apply(msgspec.structs.replace(known.campaigns["w4r"], version=2, closes="2020-01-01T00:00:00Z"))
    for decide, body in zip(each, asked(seed), strict=True):
        with pytest.raises(Refusal, match="closed"):
            decide(body, CLIENT, None)


def test_one_mailbox_signs_once_unless_the_campaign_counts_names(seed: Seed) -> None:
    def keys(one_per: str) -> set[bytes]:
        sign = deciders(Known(Seed("w4r", NOW, policies={"one_per": one_per})))[0]
        people = (("Ana", "ana.diaz@gmail.com"), ("Ana", "AnaDiaz+x@googlemail.com"), ("Bob", "ana.diaz@gmail.com"))
        bodies = (signature(seed, given_name=name, email=email) for name, email in people)
        return {sign(json.dumps(body).encode(), CLIENT, None).key for body in bodies}

    assert len(keys("email")) == 1
    assert len(keys("email_and_name")) == 2


def test_where_a_person_acts_from_is_kept_only_as_a_mark(seed: Seed) -> None:
    sign = deciders(Known(seed))[0]
    body = json.dumps(signature(seed, country=None)).encode()
    seen = [
        json.loads(sign(body, Client(address, country), None).value)
        for address, country in (("192.0.2.1", None), ("192.0.2.77", "DE"), ("198.51.100.1", None), ("", None))
    ]
    assert [event["country"] for event in seen] == ["ZZ", "DE", "ZZ", "ZZ"]
    assert seen[0]["network"] == seen[1]["network"] != seen[2]["network"]
    assert seen[3]["network"] == ""
    assert b64encode(b"192.0.2")[:4].decode() not in json.dumps(seen)


def test_a_refused_request_does_not_use_up_its_idempotency_key(seed: Seed) -> None:
    sign = deciders(Known(seed))[0]
    with pytest.raises(Refusal):
        sign(json.dumps(signature(seed, email="nowhere")).encode(), CLIENT, b"k")
    sign(json.dumps(signature(seed)).encode(), CLIENT, b"k")


def test_a_case_that_takes_no_messages_says_so(seed: Seed) -> None:
    known = Known(seed)
    known._apply(msgspec.structs.replace(known.cases[seed.case], accepts_messages=False))
    with pytest.raises(Refusal) as refused:
        deciders(known)[1](asked(seed)[1], CLIENT, None)
    assert [error.code for error in refused.value.errors] == ["case.no-messages"]

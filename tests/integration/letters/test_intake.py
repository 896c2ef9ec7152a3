"""The intake of letters, as its process answers, against the records it writes."""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from deploy.local.endpoints import Endpoints
from shared import topics
from shared.events.marathon import Address, Writing
from shared.kafka.partitions import partition_of
from shared.privacy.keys import CampaignKeys
from shared.privacy.tokens import ActToken, TokenAct, sign
from tests.support.intakes import Intake, end_offsets, intake, message, posted, publish_and_wait, read_records
from tests.support.seeding import Seed, unique

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Deployment:
    """A running intake with one open campaign."""

    intake: Intake
    client: httpx.AsyncClient
    seed: Seed
    keys: CampaignKeys

    async def write(self, **changes: Any) -> Any:
        """Post a letter and return its record."""
        headers = changes.pop("headers", {})
        answer = await self.client.post("/v1/messages", json=message(self.seed, **changes), headers=headers)
        assert answer.status_code == 202, answer.text
        return await self.read_record(answer.json()["receipt"])

    async def read_record(self, receipt: str) -> Any:
        """Return the record that a receipt names."""
        found = self.intake.read_receipt(receipt)
        (record,) = await read_records(self.intake.platform, found.topic, found.partition, found.offset, 1)
        assert record.key == found.key
        return record


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(platform: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    seed = Seed(
        unique("letters"),
        time.time(),
        policies={"letters_per_person": 3},
        address=Address(version=1, lines=("Somebody", "Hut 3"), language="en", country="AQ"),
        writing=Writing(rules={"fr": ("Deux pages au plus",)}),
    )
    async with intake(platform, "letters", tmp_path_factory.mktemp("intake")) as running, running.client() as client:
        keys = (await publish_and_wait(running, seed))[seed.slug]
        yield Deployment(running, client, seed, keys)


async def test_a_letter_is_stored_sealed_with_all_that_it_is_counted_by(deployment: Deployment) -> None:
    record = await deployment.write(text="Dear friend,\nZyxwvut.", language="be", handwritten=True)
    event = json.loads(record.value)
    assert (event["kind"], event["language"], event["locale"], event["handwritten"]) == ("letter", "be", "fr", True)
    assert (event["subject"], event["daily_limit"], event["evidence"]) == (deployment.seed.case, 3, "recorded")
    person = deployment.keys.sealer.open(
        event["sealed"], topic=record.topic, subject=deployment.seed.case, key=record.key
    )
    assert person.text == "Dear friend,\nZyxwvut."
    assert b"Zyxwvut" not in record.value
    assert dict(record.headers)["ce_type"] == b"message-submitted"


async def test_all_of_a_persons_letters_to_a_case_are_in_one_partition(deployment: Deployment) -> None:
    written = [await deployment.write(text=f"Letter {number}") for number in range(6)]
    assert len({record.key for record in written}) == 6
    persons = {json.loads(record.value)["person"] for record in written}
    assert len(persons) == 1
    person = urlsafe_b64decode(persons.pop() + "==")
    assert {record.partition for record in written} == {partition_of(person, 4)}


async def test_the_same_text_is_the_same_letter_unless_each_has_a_key_of_its_own(deployment: Deployment) -> None:
    first, again = await deployment.write(text="Once."), await deployment.write(text="  once. ")
    assert first.key == again.key
    keyed = [await deployment.write(text="Once.", headers={"Idempotency-Key": unique("k")}) for _ in range(2)]
    assert len({record.key for record in (first, *keyed)}) == 3


async def test_a_letter_sent_again_with_its_key_is_the_same_letter_on_either_route(deployment: Deployment) -> None:
    key = unique("größe").encode()
    hot = {b"Idempotency-Key": key, b"Content-Type": b"application/json"}
    ordinary = {**hot, b"Content-Type": b'application/json; charset="utf-8"'}
    assert len({(await deployment.write(headers=headers)).key for headers in (hot, ordinary)}) == 1


async def test_a_form_is_answered_with_the_thank_you_page(deployment: Deployment) -> None:
    form = {name: value for name, value in message(deployment.seed).items() if isinstance(value, str)}
    form |= {"privacy": "on", "country": "", "text": "By form"}
    answer = await deployment.client.post("/v1/messages", data=form)
    assert answer.status_code == 303
    thanks = await deployment.client.get(answer.headers["location"])
    assert thanks.status_code == 200
    assert thanks.headers["cache-control"] == "no-store"
    receipt = httpx.URL(answer.headers["location"]).path.rpartition("/")[2]
    assert (await deployment.client.get(f"/v1/messages/{receipt}")).json()["status"] == "accepted"


async def test_a_failed_form_comes_back_with_what_was_typed(deployment: Deployment) -> None:
    answer = await deployment.client.post(
        "/v1/messages", data={"case": deployment.seed.case, "text": "Zyxwvut <i>", "kind": "letter"}
    )
    assert answer.status_code == 422
    assert answer.headers["cache-control"] == "no-store"
    assert "Zyxwvut &lt;i&gt;" in answer.text
    assert "privacy-wrong" in answer.text


SHEET_FORM = {
    "text": "Zyxwvut <i>\r\n\r\nYours",
    "given_name": "Ana",
    "sender": "12 Example Street",
    "language": "ar",
    "locale": "fr",
}


async def test_a_letter_is_printed_from_what_was_typed_and_leaves_no_trace(deployment: Deployment) -> None:
    before = await end_offsets(deployment.intake.platform, topics.MESSAGES.name)
    answer = await deployment.client.post(f"/letters/print/{deployment.seed.case}", data=SHEET_FORM)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-language"] == "fr"
    assert "<p>Zyxwvut &lt;i&gt;</p>" in answer.text
    assert 'lang="ar" dir="rtl"' in answer.text
    assert "Hut 3<br>" in answer.text
    assert await end_offsets(deployment.intake.platform, topics.MESSAGES.name) == before
    assert "Zyxwvut" not in deployment.intake.log.read_text()
    assert "Zyxwvut" not in (await deployment.client.get("/metrics")).text


async def test_an_empty_sheet_is_there_for_who_writes_by_hand(deployment: Deployment) -> None:
    answer = await deployment.client.get(f"/letters/print/{deployment.seed.case}?lang=fr")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "Deux pages au plus" in answer.text


async def test_another_site_puts_no_words_onto_our_sheet(deployment: Deployment) -> None:
    answer = await deployment.client.post(
        f"/letters/print/{deployment.seed.case}", data=SHEET_FORM, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 200
    assert "Zyxwvut" not in answer.text


async def test_there_is_nothing_to_print_without_an_address(deployment: Deployment) -> None:
    bare = Seed(unique("bare"), time.time())
    await publish_and_wait(deployment.intake, bare)
    for slug in (bare.case, "nobody"):
        assert (await deployment.client.get(f"/letters/print/{slug}")).status_code == 404
        assert (await deployment.client.post(f"/letters/print/{slug}", data=SHEET_FORM)).status_code == 404
    assert (await deployment.client.post(f"/letters/print/{deployment.seed.case}", json={})).status_code == 415
    assert (
        await deployment.client.post(f"/letters/print/{deployment.seed.case}", data={"text": "x" * 70_000})
    ).status_code == 413


async def test_a_letter_that_a_person_posted_is_taken_as_what_they_say(deployment: Deployment) -> None:
    answer = await deployment.client.post("/v1/messages/posted", json=posted(deployment.seed))
    assert answer.status_code == 202, answer.text
    record = await deployment.read_record(answer.json()["receipt"])
    event = json.loads(record.value)
    assert (event["kind"], event["channel"], event["evidence"]) == ("letter", "post", "self_reported")
    assert (event["confirmed_at"], event["daily_limit"]) == (None, 3)
    person = deployment.keys.sealer.open(
        event["sealed"], topic=record.topic, subject=deployment.seed.case, key=record.key
    )
    assert (person.given_name, person.text) == ("Ana", "")


async def test_the_foot_of_a_sheet_leads_to_a_form_that_counts_it_once(deployment: Deployment) -> None:
    sheet = await deployment.client.get(f"/letters/print/{deployment.seed.case}")
    (code,) = re.findall(r'<p class="code" dir="ltr">([\w-]+)</p>', sheet.text)
    page = await deployment.client.get(f"/letters/posted/{deployment.seed.case}?code={code}")
    assert f'value="{code}"' in page.text
    assert page.headers["cache-control"] == "no-store"
    form = hidden_fields(page.text) | {"given_name": "Ana", "family_name": "Diaz", "privacy": "on", "language": "ru"}
    form |= {"email": "posts@example.org", "country": "FR", "kind": "postcard", "code": code}
    keys = set()
    for _ in range(2):
        answer = await deployment.client.post("/v1/messages/posted", data=form)
        assert answer.status_code == 303
        assert "/letters/posted/thanks/" in answer.headers["location"]
        thanks = await deployment.client.get(answer.headers["location"])
        assert thanks.status_code == 200
        assert "Dans quelques jours" in thanks.text or "In some days" in thanks.text
        keys.add(deployment.intake.read_receipt(httpx.URL(answer.headers["location"]).path.rpartition("/")[2]).key)
    assert len(keys) == 1


async def test_without_a_sheet_the_form_itself_is_counted_once(deployment: Deployment) -> None:
    keys = []
    for _ in range(2):
        page = await deployment.client.get(f"/letters/posted/{deployment.seed.case}")
        form = hidden_fields(page.text) | {"given_name": "Ana", "family_name": "Diaz", "privacy": "on", "code": ""}
        form |= {"email": "posts@example.org", "country": "FR", "kind": "letter", "language": "ru"}
        for _ in range(2):
            answer = await deployment.client.post("/v1/messages/posted", data=form)
            assert answer.status_code == 303
            keys.append(
                deployment.intake.read_receipt(httpx.URL(answer.headers["location"]).path.rpartition("/")[2]).key
            )
    assert [keys[0], keys[2]] == [keys[1], keys[3]]
    assert keys[0] != keys[2]


async def test_a_mistyped_code_comes_back_with_all_that_was_typed(deployment: Deployment) -> None:
    form = {"case": deployment.seed.case, "code": "7KQ4-M2XD-9FOO", "email": "posts@example.org", "unprinted": "U-1"}
    answer = await deployment.client.post("/v1/messages/posted", data=form)
    assert answer.status_code == 422
    assert answer.headers["cache-control"] == "no-store"
    assert "code-wrong" in answer.text
    assert 'value="7KQ4-M2XD-9FOO"' in answer.text
    assert hidden_fields(answer.text)["unprinted"] == "U-1"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"code": "7KQ4-M2XD-9FOO"}, "code.invalid"),
        ({"code": ""}, "code.empty"),
        ({"code": 7}, "code.type"),
        ({"code": "x" * 41}, "code.too-long"),
        ({"kind": "drawing"}, "kind.unknown"),
        ({"language": "xx"}, "language.unknown"),
        ({"email": "nowhere"}, "email.invalid"),
    ],
)
async def test_a_wrong_report_is_a_422_that_says_why(
    deployment: Deployment, changes: dict[str, Any], code: str
) -> None:
    answer = await deployment.client.post("/v1/messages/posted", json=posted(deployment.seed, **changes))
    assert answer.status_code == 422
    assert [error["code"] for error in answer.json()["errors"]] == [code]


def hidden_fields(page: str) -> dict[str, str]:
    """Return the hidden fields of a form."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"text": ""}, "text.empty"),
        ({"text": " \n "}, "text.empty"),
        ({"text": "x" * 10_001}, "text.too-long"),
        ({"text": "a\x00b"}, "text.control-character"),
        ({"kind": "novel"}, "kind.unknown"),
        ({"kind": "signature"}, "kind.unknown"),
        ({"language": "xx"}, "language.unknown"),
        ({"handwritten": "yes"}, "handwritten.type"),
    ],
)
async def test_a_wrong_letter_is_a_422_that_says_why(
    deployment: Deployment, changes: dict[str, Any], code: str
) -> None:
    answer = await deployment.client.post("/v1/messages", json=message(deployment.seed, **changes))
    assert answer.status_code == 422
    assert [error["code"] for error in answer.json()["errors"]] == [code]


@pytest.mark.parametrize(("purpose", "event"), [("confirm", "message-confirmed"), ("withdraw", "message-withdrawn")])
async def test_a_link_acts_on_the_letters_own_partition(deployment: Deployment, purpose: Any, event: str) -> None:
    record = await deployment.write(text=f"To {purpose}", email=f"{purpose}@example.org")
    act = TokenAct(
        topic=record.topic,
        case=deployment.seed.case,
        subject=deployment.seed.case,
        key=record.key,
        digest=urlsafe_b64decode(json.loads(record.value)["digest"] + "=="),
        partition=record.partition,
        offset=record.offset,
    )
    token = sign(
        ActToken(purpose=purpose, campaign=deployment.seed.slug, issued_at=0, acts=(act,)), deployment.keys.token
    )
    before = await end_offsets(deployment.intake.platform, topics.MESSAGES.name)
    page = await deployment.client.get(f"/letters/{purpose}/{token}")
    assert page.status_code == 200
    assert f'action="{deployment.intake.origin}/letters/{purpose}/{token}"' in page.text
    assert await end_offsets(deployment.intake.platform, topics.MESSAGES.name) == before
    assert (await deployment.client.post(f"/letters/{purpose}/{token}")).status_code == 200
    (follow_up,) = await read_records(
        deployment.intake.platform, record.topic, record.partition, before[record.partition], 1
    )
    assert follow_up.key == record.key
    assert dict(follow_up.headers)["ce_type"] == event.encode()


async def test_a_token_of_many_acts_is_answered_when_all_are_stored(deployment: Deployment) -> None:
    written = [await deployment.write(text=f"Many {number}") for number in range(5)]
    acts = tuple(
        TokenAct(
            topic=record.topic,
            case=deployment.seed.case,
            subject=deployment.seed.case,
            key=record.key,
            digest=b"d" * 16,
            partition=record.partition,
            offset=record.offset,
        )
        for record in written
    )
    token = sign(
        ActToken(purpose="confirm", campaign=deployment.seed.slug, issued_at=0, acts=acts), deployment.keys.token
    )
    before = await end_offsets(deployment.intake.platform, topics.MESSAGES.name)
    answer = await deployment.client.post(f"/letters/confirm/{token}", headers={"Accept": "application/json"})
    assert answer.json() == {"status": "accepted", "acts": 5}
    after = await end_offsets(deployment.intake.platform, topics.MESSAGES.name)
    assert sum(after.values()) - sum(before.values()) == 5

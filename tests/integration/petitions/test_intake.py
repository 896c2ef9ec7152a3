"""The intake of petitions, as its process answers, against the records it writes."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from deploy.local.connections import connect
from deploy.local.endpoints import Endpoints
from shared import topics
from shared.events.marathon import Section
from shared.kafka.partitions import partition_of
from shared.privacy.keys import CampaignKeys
from shared.privacy.tokens import ActToken, TokenAct, sign
from tests.support.intakes import Intake, end_offsets, intake, publish_and_wait, read_records, signature
from tests.support.seeding import Seed, unique
from tests.support.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PARTNER = "partner-key-of-this-test"


@dataclass
class Deployment:
    """A running intake with one open campaign."""

    intake: Intake
    client: httpx.AsyncClient
    seed: Seed
    keys: CampaignKeys


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(platform: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    north = Section(slug="north", name="North", countries=("NO", "SE"))
    seed = Seed(unique("w4r"), time.time(), sections=(north,), api_key=PARTNER, section="south")
    async with intake(platform, "petitions", tmp_path_factory.mktemp("intake")) as running, running.client() as client:
        keys = (await publish_and_wait(running, seed))[seed.slug]
        yield Deployment(running, client, seed, keys)


async def read_record(running: Intake, receipt: str) -> Any:
    """Return the record that a receipt names."""
    found = running.read_receipt(receipt)
    (record,) = await read_records(running.platform, found.topic, found.partition, found.offset, 1)
    assert record.key == found.key
    assert record.partition == partition_of(record.key, 4)
    return record


async def test_a_receipt_leads_to_the_record_that_was_acknowledged(deployment: Deployment) -> None:
    answer = await deployment.client.post(
        "/v1/signatures", json=signature(deployment.seed, country="SE", comment="Now!")
    )
    assert answer.status_code == 202
    assert answer.json()["status"] == "accepted"
    record = await read_record(deployment.intake, answer.json()["receipt"])
    event = json.loads(record.value)
    dimensions = {
        name: event[name] for name in ("campaign", "case", "subject", "kind", "channel", "evidence", "section")
    }
    assert dimensions == {
        "campaign": deployment.seed.slug,
        "case": deployment.seed.case,
        "subject": deployment.seed.petition,
        "kind": "signature",
        "channel": "web",
        "evidence": "recorded",
        "section": "north",
    }
    assert (event["country"], event["language"], event["locale"], event["petition_version"]) == ("SE", "fr", "fr", 3)
    person = deployment.keys.sealer.open(
        event["sealed"], topic=record.topic, subject=deployment.seed.petition, key=record.key
    )
    assert (person.given_name, person.family_name, person.email) == ("Ana", "Diaz", "ana@example.org")
    assert person.comment == "Now!"
    record_bytes = record.value + b"".join(value for _, value in record.headers)
    for secret in (b"Ana", b"Diaz", b"ana@example.org", b"Now!", b"127.0.0.1"):
        assert secret not in record_bytes


async def test_the_record_is_a_cloudevent_to_others(deployment: Deployment) -> None:
    answer = await deployment.client.post("/v1/signatures", json=signature(deployment.seed))
    record = await read_record(deployment.intake, answer.json()["receipt"])
    event = from_binary(KafkaMessage(headers=dict(record.headers), key=None, value=record.value), JSONFormat())
    assert event.get_type() == "signature-submitted"
    assert event.get_source() == "/petitions/intake"
    assert event.get_time() is not None
    data = event.get_data()
    assert isinstance(data, dict)
    assert data["subject"] == deployment.seed.petition


async def test_the_hot_and_the_ordinary_route_write_the_same(deployment: Deployment) -> None:
    body = json.dumps(signature(deployment.seed, email="same@example.org", country=None)).encode()
    types = {"hot": "application/json", "ordinary": 'application/json; charset="utf-8"'}
    written = {}
    for route, content_type in types.items():
        answer = await deployment.client.post("/v1/signatures", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == 202
        record = await read_record(deployment.intake, answer.json()["receipt"])
        event = json.loads(record.value)
        assert event.pop("sealed")
        written[route] = (record.key, record.partition, event)
    assert written["hot"] == written["ordinary"]
    assert written["hot"][2]["country"] == "ZZ"


async def test_who_signs_again_gets_the_same_kind_of_answer(deployment: Deployment) -> None:
    first = await deployment.client.post("/v1/signatures", json=signature(deployment.seed, email="twice@example.org"))
    again = await deployment.client.post(
        "/v1/signatures", json=signature(deployment.seed, email="Twice@Example.org", given_name="Anna")
    )
    assert first.status_code == again.status_code == 202
    assert first.json().keys() == again.json().keys()
    assert len(first.json()["receipt"]) == len(again.json()["receipt"])
    first_record, second_record = [
        await read_record(deployment.intake, answer.json()["receipt"]) for answer in (first, again)
    ]
    assert first_record.key == second_record.key
    assert json.loads(first_record.value)["digest"] != json.loads(second_record.value)["digest"]


async def test_a_form_is_answered_with_the_thank_you_page(deployment: Deployment) -> None:
    form = {
        "petition": deployment.seed.petition,
        "given_name": "Ana",
        "family_name": "Diaz",
        "email": "form@example.org",
    }
    answer = await deployment.client.post(
        "/v1/signatures", data={**form, "privacy": "on", "country": "", "locale": "en"}
    )
    assert answer.status_code == 303
    thanks = await deployment.client.get(answer.headers["location"])
    assert thanks.status_code == 200
    assert thanks.headers["referrer-policy"] == "no-referrer"
    assert thanks.headers["cache-control"] == "no-store"
    assert "form@example.org" not in thanks.text
    receipt = httpx.URL(answer.headers["location"]).path.rpartition("/")[2]
    assert json.loads((await read_record(deployment.intake, receipt)).value)["country"] == "ZZ"


async def test_a_failed_form_comes_back_with_what_was_typed(deployment: Deployment) -> None:
    form = {"petition": deployment.seed.petition, "given_name": "Zyxwvut", "family_name": "<b>", "email": "nowhere"}
    answer = await deployment.client.post("/v1/signatures", data=form)
    assert answer.status_code == 422
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].startswith("text/html")
    assert 'value="Zyxwvut"' in answer.text
    assert "&lt;b&gt;" in answer.text
    assert "email-wrong" in answer.text
    assert "privacy-wrong" in answer.text


@pytest.mark.parametrize(("name", "status"), [("petition", 404), ("receipt", 404)])
async def test_what_does_not_exist_is_a_page_for_people(deployment: Deployment, name: str, status: int) -> None:
    if name == "petition":
        form = {"petition": "none", "privacy": "on"}
        answer = await deployment.client.post("/v1/signatures", data=form, headers=BROWSER)
        assert answer.status_code in (404, 422)
    else:
        answer = await deployment.client.get("/thanks/none", headers=BROWSER)
        assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


async def test_a_batch_takes_what_is_good_and_says_what_is_not(deployment: Deployment) -> None:
    before = await end_offsets(deployment.intake.platform, topics.SIGNATURES.name)
    items: list[Any] = [
        signature(
            deployment.seed, email=f"batch{number}@example.org", confirmed_at="2026-11-20T10:00:00+02:00", country="NO"
        )
        for number in range(5)
    ]
    items[1] = {**items[1], "email": "nowhere"}
    items[3] = 7
    items.append(signature(deployment.seed, petition="nobody-knows"))
    answer = await deployment.client.post(
        "/v1/signatures/batch", json={"items": items}, headers={"Authorization": f"Bearer {PARTNER}"}
    )
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 3,
        "rejected": [
            {"index": 1, "errors": [{"pointer": "/email", "code": "email.invalid"}]},
            {"index": 3, "errors": [{"pointer": "", "code": "body.type"}]},
            {"index": 5, "errors": [{"pointer": "/petition", "code": "petition.unknown"}]},
        ],
    }
    assert "access-control-allow-origin" not in answer.headers
    found = [
        json.loads(record.value or b"")
        for partition, first in before.items()
        for record in await read_records(deployment.intake.platform, topics.SIGNATURES.name, partition, first)
    ]
    ours = [event for event in found if event["campaign"] == deployment.seed.slug]
    assert len(ours) == 3
    for event in ours:
        assert (event["channel"], event["evidence"], event["section"]) == ("api", "confirmed", "south")
        assert event["confirmed_at"] == "2026-11-20T10:00:00+02:00"
        assert event["network"] == ""


async def test_a_batch_of_nothing_but_bad_items_is_still_answered(deployment: Deployment) -> None:
    answer = await deployment.client.post(
        "/v1/signatures/batch", json={"items": [{}, {}]}, headers={"Authorization": f"Bearer {PARTNER}"}
    )
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 0
    assert len(answer.json()["rejected"]) == 2


async def test_a_batch_goes_with_one_idempotency_key(deployment: Deployment) -> None:
    headers = {"Authorization": f"Bearer {PARTNER}", "Idempotency-Key": unique("k")}
    for body, status in (({"items": [{}]}, 202), ({"items": [{}]}, 202), ({"items": []}, 422)):
        assert (await deployment.client.post("/v1/signatures/batch", json=body, headers=headers)).status_code == status


async def test_what_one_partner_keys_is_nothing_to_another(deployment: Deployment) -> None:
    other = Seed(unique("other"), time.time(), api_key=unique("secret"))
    await publish_and_wait(deployment.intake, other)
    key = unique("k")
    for secret, items in ((PARTNER, 1), (other.api_key, 2)):
        headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": key}
        answer = await deployment.client.post("/v1/signatures/batch", json={"items": [{}] * items}, headers=headers)
        assert answer.status_code == 202


async def test_the_key_of_a_batch_is_as_long_as_any_and_has_nothing_to_do_with_those_of_signatures(
    deployment: Deployment,
) -> None:
    key = unique("größe")
    assert len(f"batch|{key}".encode()) <= 255
    single = {b"Idempotency-Key": f"batch|{key}".encode()}
    assert (
        await deployment.client.post("/v1/signatures", json=signature(deployment.seed), headers=single)
    ).status_code == 202
    for long, status in ((key.encode(), 202), ((key + "ö" * 255).encode()[:254], 202), (b"k" * 256, 422)):
        headers = {b"Authorization": f"Bearer {PARTNER}".encode(), b"Idempotency-Key": long}
        answer = await deployment.client.post("/v1/signatures/batch", json={"items": [{}]}, headers=headers)
        assert answer.status_code == status


async def test_a_partner_cannot_sign_for_another_campaign(deployment: Deployment) -> None:
    other = Seed(unique("other"), time.time(), api_key="key-without-scope", scopes=())
    await publish_and_wait(deployment.intake, other)
    answer = await deployment.client.post(
        "/v1/signatures/batch", json={"items": [signature(other)]}, headers={"Authorization": f"Bearer {PARTNER}"}
    )
    assert answer.json()["rejected"][0]["errors"] == [{"pointer": "/petition", "code": "petition.other-campaign"}]
    refused = await deployment.client.post(
        "/v1/signatures/batch", json={"items": []}, headers={"Authorization": "Bearer key-without-scope"}
    )
    assert refused.status_code == 403


async def test_a_share_is_self_reported_and_counted_once_a_kind(deployment: Deployment) -> None:
    act = {"case": deployment.seed.case, "kind": "share", "email": "ana@example.org", "consent": {"privacy": True}}
    receipts = []
    for kind in ("share", "share", "pledge"):
        answer = await deployment.client.post("/v1/acts", json={**act, "kind": kind})
        assert answer.status_code == 202
        receipts.append(answer.json()["receipt"])
    share, again, pledge = [await read_record(deployment.intake, receipt) for receipt in receipts]
    assert share.key == again.key != pledge.key
    event = json.loads(share.value)
    assert (event["kind"], event["evidence"], event["subject"]) == ("share", "self_reported", deployment.seed.case)


def token_for(seed: Seed, keys: CampaignKeys, record: Any, purpose: Any, **changes: Any) -> str:
    event = json.loads(record.value)
    act = {
        "topic": record.topic,
        "case": seed.case,
        "subject": seed.petition,
        "key": record.key,
        "digest": urlsafe_b64decode(event["digest"] + "=="),
        "partition": record.partition,
        "offset": record.offset,
        **changes,
    }
    acts = (TokenAct(**act),)
    return sign(ActToken(purpose=purpose, campaign=seed.slug, issued_at=int(time.time()), acts=acts), keys.token)


@pytest.mark.parametrize(
    ("purpose", "event"), [("confirm", "signature-confirmed"), ("withdraw", "signature-withdrawn")]
)
async def test_opening_a_link_changes_nothing_and_its_button_acts(
    deployment: Deployment, purpose: str, event: str
) -> None:
    answer = await deployment.client.post(
        "/v1/signatures", json=signature(deployment.seed, email=f"{purpose}@example.org")
    )
    record = await read_record(deployment.intake, answer.json()["receipt"])
    path = f"/{purpose}/{token_for(deployment.seed, deployment.keys, record, purpose)}"
    before = await end_offsets(deployment.intake.platform, topics.SIGNATURES.name)
    page = await deployment.client.get(path)
    assert page.status_code == 200
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.text.count("<button") == 1
    assert f'action="{deployment.intake.origin}{path}"' in page.text
    assert await end_offsets(deployment.intake.platform, topics.SIGNATURES.name) == before
    for _ in range(2):
        assert (await deployment.client.post(path)).status_code == 200
    follow_ups = await read_records(
        deployment.intake.platform, topics.SIGNATURES.name, record.partition, before[record.partition], 2
    )
    for follow_up in follow_ups:
        assert dict(follow_up.headers)["ce_type"] == event.encode()
        assert follow_up.key == record.key
        content = json.loads(follow_up.value or b"")
        assert (content["campaign"], content["case"], content["subject"]) == (
            deployment.seed.slug,
            deployment.seed.case,
            deployment.seed.petition,
        )
        if purpose == "confirm":
            assert content["digest"] == json.loads(record.value)["digest"]


async def test_a_link_that_is_broken_or_for_something_else_is_a_404(deployment: Deployment) -> None:
    answer = await deployment.client.post("/v1/signatures", json=signature(deployment.seed, email="broken@example.org"))
    record = await read_record(deployment.intake, answer.json()["receipt"])
    token = token_for(deployment.seed, deployment.keys, record, "confirm")
    for text in (token[:-2] + "AA", token[:30], "x", "a.b.c", f"{token}x"):
        assert (await deployment.client.get(f"/confirm/{text}")).status_code == 404
        assert (await deployment.client.post(f"/confirm/{text}")).status_code == 404
    assert (await deployment.client.post(f"/withdraw/{token}")).status_code == 404
    letters = token_for(deployment.seed, deployment.keys, record, "confirm", topic=topics.MESSAGES.name)
    assert (await deployment.client.post(f"/confirm/{letters}")).status_code == 404


async def test_a_confirmation_comes_too_late_a_withdrawal_never_does(deployment: Deployment) -> None:
    closed = Seed(unique("over"), time.time(), opens_in=-30 * 86_400, closes_in=-8 * 86_400)
    keys = (await publish_and_wait(deployment.intake, closed))[closed.slug]
    reference: dict[str, Any] = {"topic": topics.SIGNATURES.name, "case": closed.case, "subject": closed.petition}
    position: dict[str, Any] = {"key": b"k" * 16, "digest": b"d" * 16, "partition": 0, "offset": 0}
    acts = (TokenAct(**reference, **position),)
    for purpose, status in (("confirm", 410), ("withdraw", 200)):
        token = sign(ActToken(purpose=purpose, campaign=closed.slug, issued_at=0, acts=acts), keys.token)  # type: ignore[arg-type]
        assert (await deployment.client.post(f"/{purpose}/{token}")).status_code == status


async def test_programs_may_ask_links_for_json(deployment: Deployment) -> None:
    answer = await deployment.client.post("/v1/signatures", json=signature(deployment.seed, email="json@example.org"))
    token = token_for(
        deployment.seed, deployment.keys, await read_record(deployment.intake, answer.json()["receipt"]), "confirm"
    )
    accept_json = {"Accept": "application/json"}
    shown = await deployment.client.get(f"/confirm/{token}", headers=accept_json)
    assert shown.json() == {"purpose": "confirm", "acts": [{"case": deployment.seed.case, "kind": "signature"}]}
    assert (await deployment.client.post(f"/confirm/{token}", headers=accept_json)).json() == {
        "status": "accepted",
        "acts": 1,
    }
    assert (await deployment.client.post("/confirm/none", headers=accept_json)).json()["status"] == 404


async def test_a_petition_is_shown_with_its_version(deployment: Deployment) -> None:
    answer = await deployment.client.get(f"/v1/petitions/{deployment.seed.petition}")
    shown = answer.json()
    assert (shown["version"], shown["case"]["slug"], shown["campaign"]["slug"]) == (
        3,
        deployment.seed.case,
        deployment.seed.slug,
    )
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_nothing_personal_is_in_metrics_or_logs(deployment: Deployment) -> None:
    marked = signature(deployment.seed, given_name="Zyxwvut", family_name="Qponmlk", email="zyxwvut@qponmlk.example")
    good = await deployment.client.post("/v1/signatures", json=marked)
    assert good.status_code == 202
    bad = await deployment.client.post("/v1/signatures", json={**marked, "country": "Zyxwvut", "locale": "Qponmlk"})
    assert bad.status_code == 422
    await deployment.client.get(f"/thanks/{good.json()['receipt']}")
    measured = (await deployment.client.get("/metrics")).text
    output = (measured + deployment.intake.log.read_text() + bad.text).lower()
    for needle in ("zyxwvut", "qponmlk", good.json()["receipt"].lower()):
        assert needle not in output
    assert (
        'milleplumes_intake_actions_refused_total{code="country.unknown",topic="petitions.signatures.v1"}' in measured
    )
    assert 'milleplumes_intake_records_acknowledged_total{topic="petitions.signatures.v1"}' in measured
    assert 'milleplumes_http_requests_answered_total{method="POST",route="/v1/signatures",status="202"}' in measured


async def test_readiness_names_the_flush(deployment: Deployment) -> None:
    answer = (await deployment.client.get("/readyz")).json()
    assert answer["ready"] is True
    assert answer["kafka_flush"] in ("on", "off")


async def test_a_receipt_is_counted_once_the_counter_has_passed_it(
    deployment: Deployment, platform: Endpoints, tmp_path: Path, make_database: Any
) -> None:
    database = await make_database("petitions")
    async with intake(platform, "petitions", tmp_path, database=database) as running, running.client() as client:
        await publish_and_wait(running)
        answer = await client.post("/v1/signatures", json=signature(deployment.seed, email="counted@example.org"))
        receipt = answer.json()["receipt"]
        status = (await client.get(f"/v1/signatures/{receipt}")).json()
        assert status["status"] == "accepted"
        found = running.read_receipt(receipt)
        connection = await asyncpg.connect(database)
        await connection.execute(
            "INSERT INTO positions (consumer_group, topic, partition, next) VALUES ($1, $2, $3, $4)",
            "petitions.count-signatures",
            found.topic,
            found.partition,
            found.offset + 1,
        )
        await connection.close()
        deadline = time.monotonic() + 10
        while (status := (await client.get(f"/v1/signatures/{receipt}")).json())["status"] != "counted":
            assert time.monotonic() < deadline
        assert status["as_of"].endswith("Z")
        assert (await client.get("/v1/signatures/none")).status_code == 404


async def test_only_who_confirmed_and_agreed_is_named_in_the_order_of_signing(
    platform: Endpoints, tmp_path: Path, make_database: Any
) -> None:
    database = await make_database("petitions")
    seed = Seed(unique("declared"), time.time())
    async with (
        intake(platform, "petitions", tmp_path, database=database) as running,
        intake(platform, "petitions", tmp_path, database=database, role="counter"),
        running.client() as client,
    ):
        keys = (await publish_and_wait(running, seed))[seed.slug]
        signed: dict[str, Any] = {}
        for name, shown in (("Zoe", True), ("Ana", True), ("Bob", False), ("Cy", True)):
            consent = {"privacy": True, "public_name": shown}
            body = signature(seed, given_name=name, email=f"{name}@example.org", consent=consent)
            answer = await client.post("/v1/signatures", json=body)
            signed[name] = await read_record(running, answer.json()["receipt"])
        for name in ("Bob", "Ana", "Zoe"):
            await client.post(f"/confirm/{token_for(seed, keys, signed[name], 'confirm')}")
        path = f"/v1/declarations/{seed.petition}/signatories"

        async def signatory_names() -> list[str]:
            return [signatory["given_name"] for signatory in (await client.get(path)).json()["signatories"]]

        await wait_until_equal(signatory_names, ["Zoe", "Ana"])
        first = (await client.get(path, params={"limit": 1})).json()
        assert first["signatories"] == [{"given_name": "Zoe", "family_name": "Diaz"}]
        second = (await client.get(path, params={"after": first["next"], "limit": 1})).json()
        assert second["signatories"] == [{"given_name": "Ana", "family_name": "Diaz"}]
        last = (await client.get(path, params={"after": second["next"], "limit": 1})).json()
        assert last == {"petition": seed.petition, "signatories": [], "next": None}
        assert (await client.get(path, params={"after": "none"})).status_code == 422
        await client.post(f"/withdraw/{token_for(seed, keys, signed['Zoe'], 'withdraw')}")
        await wait_until_equal(signatory_names, ["Ana"])
        again = (await client.get(path, params={"after": first["next"], "limit": 1})).json()
        assert again["signatories"] == second["signatories"], "a page is missed after a withdrawal"
        async with connect(database) as connection:
            await connection.execute(
                "UPDATE submissions SET sealed = 'x' WHERE \"offset\" = $1 AND partition = $2",
                signed["Ana"].offset,
                signed["Ana"].partition,
            )
        await client.post(f"/confirm/{token_for(seed, keys, signed['Cy'], 'confirm')}")
        await wait_until_equal(signatory_names, ["Cy"])
        assert (await client.get(path, params={"limit": 501})).status_code == 422
        assert (await client.get("/v1/declarations/none/signatories")).status_code == 404


async def wait_until_equal(fetch: Any, expected: Any) -> None:
    """Wait until `await fetch()` equals `expected`."""

    async def is_equal() -> bool:
        return bool(await fetch() == expected)

    await wait_until(is_equal, 60)


async def test_safety_mode_keeps_no_comment_and_names_nobody(deployment: Deployment) -> None:
    policies = {"safety_mode": True, "confirmation": "required", "public_evidence": ("confirmed",)}
    safe = Seed(unique("safe"), time.time(), policies=policies)
    keys = (await publish_and_wait(deployment.intake, safe))[safe.slug]
    answer = await deployment.client.post("/v1/signatures", json=signature(safe, comment="Zyxwvut"))
    record = await read_record(deployment.intake, answer.json()["receipt"])
    sealed = json.loads(record.value)["sealed"]
    assert keys.sealer.open(sealed, topic=record.topic, subject=safe.petition, key=record.key).comment == ""
    shown = await deployment.client.get(f"/v1/declarations/{safe.petition}/signatories")
    assert shown.json()["signatories"] == []


async def test_without_a_database_signatures_are_taken_all_the_same(
    platform: Endpoints, tmp_path: Path, deployment: Deployment
) -> None:
    unreachable = "postgresql://nobody@127.0.0.1:1/none"
    async with intake(platform, "petitions", tmp_path, database=unreachable) as running, running.client() as client:
        await publish_and_wait(running)
        answer = await client.post("/v1/signatures", json=signature(deployment.seed, email="nodb@example.org"))
        assert answer.status_code == 202
        receipt = answer.json()["receipt"]
        status = await client.get(f"/v1/signatures/{receipt}")
        assert status.status_code == 503
        assert status.headers["content-type"] == "application/problem+json"
        assert (await client.get(f"/thanks/{receipt}")).status_code == 200

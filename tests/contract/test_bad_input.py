"""Everything that should not be taken, by both intakes: the status and code of the contract, and nothing repeated."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from deploy.local.endpoints import Endpoints
from tests.support.intakes import Intake, intake, message, plant_and_wait, posted, signature
from tests.support.seeding import Seed, unique

pytestmark = pytest.mark.asyncio(loop_scope="module")
PLANTED = "Zyxwvut"
JSON = {"Content-Type": "application/json"}

DOORS: dict[str, tuple[str, str, Callable[..., dict[str, Any]]]] = {
    "signatures": ("petitions", "/v1/signatures", signature),
    "messages": ("letters", "/v1/messages", message),
    "posted": ("letters", "/v1/messages/posted", posted),
}


@dataclass
class Door:
    """One address that takes people's actions, and a good body for it."""

    running: Intake
    client: httpx.AsyncClient
    path: str
    make: Callable[..., dict[str, Any]]
    seed: Seed
    over: Seed
    early: Seed
    keyless: Seed

    def good(self, **changes: Any) -> dict[str, Any]:
        return self.make(self.seed, **changes)

    async def post(self, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(self.path, content=content, headers={**JSON, **headers})


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["signatures", "messages", "posted"])
async def door(
    platform: Endpoints, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Door]:
    service, path, make = DOORS[request.param]
    now = time.time()
    seeds = [
        Seed(unique("open"), now),
        Seed(unique("over"), now, opens_in=-1_000, closes_in=-500),
        Seed(unique("early"), now, opens_in=1_000),
        Seed(unique("keyless"), now, with_keys=False),
    ]
    async with intake(platform, service, tmp_path_factory.mktemp("intake")) as running, running.client() as client:
        await plant_and_wait(running, seeds[-1], *seeds[:-1])
        yield Door(running, client, path, make, *seeds)


def check_problem(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """Make sure that `answer` is RFC 9457, says `status` and `code`, and repeats nothing that was planted."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"]
    assert problem["title"]
    assert PLANTED.lower() not in answer.text.lower()
    if code is not None:
        assert code in {error["code"] for error in problem["errors"]}
        assert all(error["pointer"] == "" or error["pointer"].startswith("/") for error in problem["errors"])
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) > 0
    return problem


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: good[:-1],
        lambda good: good + b"x",
        lambda _good: b"",
        lambda _good: b"not json " + PLANTED.encode(),
        lambda good: b"\xef\xbb\xbf" + good,
        lambda good: good.replace(b'"given_name"', b'"x": NaN, "given_name"'),
        lambda good: good.replace(b'"given_name"', b'"x": Infinity, "given_name"'),
        lambda good: good.replace(b'"given_name"', b'"x": "\xff", "given_name"'),
        lambda good: good.replace(b'"given_name"', b'"x": "\xed\xa0\x80", "given_name"'),
        lambda good: good.replace(b'"given_name"', b'"x": "\\ud800", "given_name"'),
        lambda good: good.replace(b'"Ana"', b'"A\xffna"'),
        lambda good: good.replace(b'"Ana"', b'"\\udc00"'),
        lambda good: good.replace(b'"given_name"', b'"x": ' + b"[" * 16 + b"]" * 16 + b', "given_name"'),
        lambda _good: b"[" * 30_000 + b"]" * 30_000,
        lambda good: good.replace(b"{", b"{'a': 1, ", 1),
    ],
    ids=[
        *(
            "cut",
            "more",
            "empty",
            "text",
            "bom",
            "nan",
            "infinity",
            "bytes",
            "surrogate",
            "lone",
            "name-bytes",
            "name-lone",
        ),
        *("deep", "deeper", "quotes"),
    ],
)
async def test_what_is_no_json_is_a_400(door: Door, spoil: Callable[[bytes], bytes]) -> None:
    check_problem(await door.post(spoil(json.dumps(door.good()).encode())), 400)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"given_name": None}, "given_name.type"),
        ({"given_name": 7}, "given_name.type"),
        ({"given_name": [PLANTED]}, "given_name.type"),
        ({"given_name": ""}, "given_name.empty"),
        ({"given_name": "   "}, "given_name.empty"),
        ({"given_name": PLANTED * 200}, "given_name.too-long"),
        ({"given_name": f"{PLANTED}\x00"}, "given_name.control-character"),
        ({"given_name": f"{PLANTED}\n"}, "given_name.control-character"),
        ({"family_name": f"https://{PLANTED}.example"}, "family_name.link"),
        ({"family_name": f"www.{PLANTED}.example"}, "family_name.link"),
        ({"family_name": f"={PLANTED}"}, "family_name.formula"),
        ({"family_name": f"+{PLANTED}"}, "family_name.formula"),
        ({"family_name": f"-{PLANTED}"}, "family_name.formula"),
        ({"family_name": f"@{PLANTED}"}, "family_name.formula"),
        ({"email": PLANTED}, "email.invalid"),
        ({"email": f"{PLANTED}@"}, "email.invalid"),
        ({"email": f"{PLANTED}@localhost"}, "email.invalid"),
        ({"email": f"{PLANTED}@" + "d" * 250 + ".org"}, "email.too-long"),
        ({"email": {"a": PLANTED}}, "email.type"),
        ({"email": True}, "email.type"),
        ({"country": "QQ"}, "country.unknown"),
        ({"country": PLANTED}, "country.unknown"),
        ({"country": 1}, "country.type"),
        ({"locale": PLANTED}, "locale.unknown"),
        ({"locale": "x" * 60_000}, "locale.unknown"),
        ({"postcode": PLANTED * 10}, "postcode.too-long"),
        ({"comment": PLANTED * 1_000}, "comment.too-long"),
        ({"comment": f"{PLANTED}\x07"}, "comment.control-character"),
        ({"source": f"{PLANTED}\x1b"}, "source.control-character"),
        ({"consent": None}, "consent.type"),
        ({"consent": {}}, "consent.privacy.missing"),
        ({"consent": {"privacy": False}}, "consent.privacy.required"),
        ({"consent": {"privacy": "true"}}, "consent.privacy.type"),
        ({"consent": {"privacy": 1}}, "consent.privacy.type"),
        ({"consent": {"privacy": True, "updates": 0}}, "consent.updates.type"),
    ],
)
async def test_a_wrong_field_is_a_422_that_names_it(door: Door, changes: dict[str, Any], code: str) -> None:
    check_problem(await door.post(door.good(**changes)), 422, code)


@pytest.mark.parametrize("name", ["given_name", "family_name", "email", "consent"])
async def test_a_missing_field_is_a_422_that_names_it(door: Door, name: str) -> None:
    body = door.good()
    del body[name]
    check_problem(await door.post(body), 422, f"{name}.missing")


@pytest.mark.parametrize("body", [b"[]", b"null", b"true", b'"Zyxwvut"', b"12"])
async def test_json_that_is_no_object_is_a_422(door: Door, body: bytes) -> None:
    check_problem(await door.post(body), 422, "body.type")


@pytest.mark.parametrize(
    "email", ["ana@münchen.de", "иван@пример.рф", "a" * 64 + "@" + "d" * 63 + "." + "e" * 63 + ".org"]
)
async def test_addresses_of_every_script_are_taken(door: Door, email: str) -> None:
    assert (await door.post(door.good(email=email))).status_code == 202


async def test_the_last_of_duplicate_members_counts_and_unknown_ones_are_ignored(door: Door) -> None:
    body = json.dumps(door.good()).encode()
    doubled = body.replace(b'"email"', b'"email": 7, "email"').replace(b'"comment"', b'"age": 1e999, "comment"')
    assert (await door.post(doubled)).status_code == 202
    assert (await door.post(body[:-1] + b', "email": "nowhere"}')).status_code == 422


async def test_an_unknown_petition_or_case_is_a_404(door: Door) -> None:
    name = "petition" if door.path == "/v1/signatures" else "case"
    check_problem(await door.post(door.good(**{name: f"{PLANTED}-{name}"})), 404)


async def test_a_closed_campaign_is_a_410_with_its_total(door: Door) -> None:
    problem = check_problem(await door.post(door.make(door.over)), 410)
    assert problem["total"] == 0
    assert problem["state"] == "live"
    assert problem["as_of"].endswith("Z")


async def test_a_campaign_that_has_not_opened_takes_nothing(door: Door) -> None:
    check_problem(await door.post(door.make(door.early)), 422)


async def test_a_campaign_whose_keys_have_not_arrived_is_a_503(door: Door) -> None:
    check_problem(await door.post(door.make(door.keyless)), 503)


@pytest.mark.parametrize("size", [64 * 1024 + 1, 10_000_000])
async def test_a_body_over_64_kib_is_a_413(door: Door, size: int) -> None:
    check_problem(await door.post(b'{"comment":"' + b"x" * size + b'"}'), 413)


async def test_a_body_that_never_ends_is_a_413(door: Door) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 1_000

    answer = await door.client.post(door.path, content=endless(), headers=JSON)
    check_problem(answer, 413)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "text/csv", "application/xml", "application/json; charset=latin-1", "multipart/form-data"],
)
async def test_another_type_of_body_is_a_415(door: Door, content_type: str) -> None:
    body = json.dumps(door.good()).encode()
    check_problem(await door.client.post(door.path, content=body, headers={"Content-Type": content_type}), 415)


async def test_a_packed_body_is_a_415(door: Door) -> None:
    check_problem(await door.post(b"\x1f\x8b", **{"Content-Encoding": "gzip"}), 415)


async def test_a_chunked_body_is_taken_as_any_other(door: Door) -> None:
    body = json.dumps(door.good()).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    answer = await door.client.post(door.path, content=pieces(), headers=JSON)
    assert answer.status_code == 202


async def test_one_idempotency_key_with_another_body_is_a_422(door: Door) -> None:
    key = {"Idempotency-Key": unique(PLANTED)}
    first = await door.post(door.good(), **key)
    again = await door.post(door.good(), **key)
    assert first.status_code == again.status_code == 202
    check_problem(await door.post(door.good(given_name="Other"), **key), 422)
    check_problem(await door.post(door.good(), **{"Idempotency-Key": "k" * 300}), 422)


async def test_what_is_posted_to_cannot_be_read(door: Door) -> None:
    status = 404 if door.path == "/v1/messages/posted" else 405  # it could be the address of a receipt
    check_problem(await door.client.get(door.path), status)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_another_method_is_a_405(door: Door, method: str) -> None:
    answer = await door.client.request(method, door.path)
    check_problem(answer, 405)
    assert answer.headers["allow"] == "POST"


async def test_an_address_that_does_not_exist_is_a_404(door: Door) -> None:
    check_problem(await door.client.get(f"/{PLANTED}"), 404)


async def test_a_page_of_any_origin_may_ask_first(door: Door) -> None:
    asked = {"Origin": "https://ngo.example", "Access-Control-Request-Method": "POST"}
    answer = await door.client.options(door.path, headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    assert "content-type" in answer.headers["access-control-allow-headers"].lower()


async def test_refusals_can_be_read_by_a_page_of_any_origin(door: Door) -> None:
    assert (await door.post(b"x")).headers["access-control-allow-origin"] == "*"


async def test_bad_input_does_not_slow_good_input(door: Door) -> None:
    """A thousand refusals in a row, then the next good request is answered at once."""
    bad = json.dumps(door.good(email="nowhere")).encode()
    for _ in range(1_000):
        await door.post(bad)
    began = time.monotonic()
    assert (await door.post(door.good())).status_code == 202
    assert time.monotonic() - began < 2
    assert door.running.process.poll() is None

"""Invalid input of both intakes: the status and code of the contract, and no answer that repeats the input."""

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
from tests.support.intakes import Intake, intake, message, posted, publish_and_wait, signature
from tests.support.seeding import Seed, unique

pytestmark = pytest.mark.asyncio(loop_scope="module")
PLANTED = "Zyxwvut"
JSON = {"Content-Type": "application/json"}

ENDPOINTS: dict[str, tuple[str, str, Callable[..., dict[str, Any]]]] = {
    "signatures": ("petitions", "/v1/signatures", signature),
    "messages": ("letters", "/v1/messages", message),
    "posted": ("letters", "/v1/messages/posted", posted),
}


@dataclass
class IntakeEndpoint:
    """One endpoint of an intake, and valid bodies for it."""

    running: Intake
    client: httpx.AsyncClient
    path: str
    make_body: Callable[..., dict[str, Any]]
    seed: Seed
    closed: Seed
    not_opened: Seed
    keyless: Seed

    def valid_body(self, **changes: Any) -> dict[str, Any]:
        return self.make_body(self.seed, **changes)

    async def post(self, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(self.path, content=content, headers={**JSON, **headers})


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["signatures", "messages", "posted"])
async def endpoint(
    platform: Endpoints, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[IntakeEndpoint]:
    service, path, make_body = ENDPOINTS[request.param]
    now = time.time()
    seeds = [
        Seed(unique("open"), now),
        Seed(unique("over"), now, opens_in=-1_000, closes_in=-500),
        Seed(unique("early"), now, opens_in=1_000),
        Seed(unique("keyless"), now, with_keys=False),
    ]
    async with intake(platform, service, tmp_path_factory.mktemp("intake")) as running, running.client() as client:
        await publish_and_wait(running, seeds[-1], *seeds[:-1])
        yield IntakeEndpoint(running, client, path, make_body, *seeds)


def check_problem(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """Check that `answer` is RFC 9457, has `status` and `code`, and repeats nothing that was planted."""
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
    "corrupt",
    [
        lambda body: body[:-1],
        lambda body: body + b"x",
        lambda _body: b"",
        lambda _body: b"not json " + PLANTED.encode(),
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: body.replace(b'"given_name"', b'"x": NaN, "given_name"'),
        lambda body: body.replace(b'"given_name"', b'"x": Infinity, "given_name"'),
        lambda body: body.replace(b'"given_name"', b'"x": "\xff", "given_name"'),
        lambda body: body.replace(b'"given_name"', b'"x": "\xed\xa0\x80", "given_name"'),
        lambda body: body.replace(b'"given_name"', b'"x": "\\ud800", "given_name"'),
        lambda body: body.replace(b'"Ana"', b'"A\xffna"'),
        lambda body: body.replace(b'"Ana"', b'"\\udc00"'),
        lambda body: body.replace(b'"given_name"', b'"x": ' + b"[" * 16 + b"]" * 16 + b', "given_name"'),
        lambda _body: b"[" * 30_000 + b"]" * 30_000,
        lambda body: body.replace(b"{", b"{'a': 1, ", 1),
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
async def test_what_is_no_json_is_a_400(endpoint: IntakeEndpoint, corrupt: Callable[[bytes], bytes]) -> None:
    check_problem(await endpoint.post(corrupt(json.dumps(endpoint.valid_body()).encode())), 400)


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
async def test_a_wrong_field_is_a_422_that_names_it(
    endpoint: IntakeEndpoint, changes: dict[str, Any], code: str
) -> None:
    check_problem(await endpoint.post(endpoint.valid_body(**changes)), 422, code)


@pytest.mark.parametrize("name", ["given_name", "family_name", "email", "consent"])
async def test_a_missing_field_is_a_422_that_names_it(endpoint: IntakeEndpoint, name: str) -> None:
    body = endpoint.valid_body()
    del body[name]
    check_problem(await endpoint.post(body), 422, f"{name}.missing")


@pytest.mark.parametrize("body", [b"[]", b"null", b"true", b'"Zyxwvut"', b"12"])
async def test_json_that_is_no_object_is_a_422(endpoint: IntakeEndpoint, body: bytes) -> None:
    check_problem(await endpoint.post(body), 422, "body.type")


@pytest.mark.parametrize(
    "email", ["ana@münchen.de", "иван@пример.рф", "a" * 64 + "@" + "d" * 63 + "." + "e" * 63 + ".org"]
)
async def test_addresses_of_every_script_are_taken(endpoint: IntakeEndpoint, email: str) -> None:
    assert (await endpoint.post(endpoint.valid_body(email=email))).status_code == 202


async def test_the_last_of_duplicate_members_counts_and_unknown_ones_are_ignored(endpoint: IntakeEndpoint) -> None:
    body = json.dumps(endpoint.valid_body()).encode()
    doubled = body.replace(b'"email"', b'"email": 7, "email"').replace(b'"comment"', b'"age": 1e999, "comment"')
    assert (await endpoint.post(doubled)).status_code == 202
    assert (await endpoint.post(body[:-1] + b', "email": "nowhere"}')).status_code == 422


async def test_an_unknown_petition_or_case_is_a_404(endpoint: IntakeEndpoint) -> None:
    name = "petition" if endpoint.path == "/v1/signatures" else "case"
    check_problem(await endpoint.post(endpoint.valid_body(**{name: f"{PLANTED}-{name}"})), 404)


async def test_a_closed_campaign_is_a_410_with_its_total(endpoint: IntakeEndpoint) -> None:
    problem = check_problem(await endpoint.post(endpoint.make_body(endpoint.closed)), 410)
    assert problem["total"] == 0
    assert problem["state"] == "live"
    assert problem["as_of"].endswith("Z")


async def test_a_campaign_that_has_not_opened_takes_nothing(endpoint: IntakeEndpoint) -> None:
    check_problem(await endpoint.post(endpoint.make_body(endpoint.not_opened)), 422)


async def test_a_campaign_whose_keys_have_not_arrived_is_a_503(endpoint: IntakeEndpoint) -> None:
    check_problem(await endpoint.post(endpoint.make_body(endpoint.keyless)), 503)


@pytest.mark.parametrize("size", [64 * 1024 + 1, 10_000_000])
async def test_a_body_over_64_kib_is_a_413(endpoint: IntakeEndpoint, size: int) -> None:
    check_problem(await endpoint.post(b'{"comment":"' + b"x" * size + b'"}'), 413)


async def test_a_body_that_never_ends_is_a_413(endpoint: IntakeEndpoint) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 1_000

    answer = await endpoint.client.post(endpoint.path, content=endless(), headers=JSON)
    check_problem(answer, 413)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "text/csv", "application/xml", "application/json; charset=latin-1", "multipart/form-data"],
)
async def test_another_type_of_body_is_a_415(endpoint: IntakeEndpoint, content_type: str) -> None:
    body = json.dumps(endpoint.valid_body()).encode()
    check_problem(await endpoint.client.post(endpoint.path, content=body, headers={"Content-Type": content_type}), 415)


async def test_a_packed_body_is_a_415(endpoint: IntakeEndpoint) -> None:
    check_problem(await endpoint.post(b"\x1f\x8b", **{"Content-Encoding": "gzip"}), 415)


async def test_a_chunked_body_is_taken_as_any_other(endpoint: IntakeEndpoint) -> None:
    body = json.dumps(endpoint.valid_body()).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    answer = await endpoint.client.post(endpoint.path, content=pieces(), headers=JSON)
    assert answer.status_code == 202


async def test_one_idempotency_key_with_another_body_is_a_422(endpoint: IntakeEndpoint) -> None:
    key = {"Idempotency-Key": unique(PLANTED)}
    first = await endpoint.post(endpoint.valid_body(), **key)
    again = await endpoint.post(endpoint.valid_body(), **key)
    assert first.status_code == again.status_code == 202
    check_problem(await endpoint.post(endpoint.valid_body(given_name="Other"), **key), 422)
    check_problem(await endpoint.post(endpoint.valid_body(), **{"Idempotency-Key": "k" * 300}), 422)


async def test_what_is_posted_to_cannot_be_read(endpoint: IntakeEndpoint) -> None:
    status = 404 if endpoint.path == "/v1/messages/posted" else 405  # it could be the address of a receipt
    check_problem(await endpoint.client.get(endpoint.path), status)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_another_method_is_a_405(endpoint: IntakeEndpoint, method: str) -> None:
    answer = await endpoint.client.request(method, endpoint.path)
    check_problem(answer, 405)
    assert answer.headers["allow"] == "POST"


async def test_an_address_that_does_not_exist_is_a_404(endpoint: IntakeEndpoint) -> None:
    check_problem(await endpoint.client.get(f"/{PLANTED}"), 404)


async def test_a_page_of_any_origin_may_ask_first(endpoint: IntakeEndpoint) -> None:
    preflight = {"Origin": "https://ngo.example", "Access-Control-Request-Method": "POST"}
    answer = await endpoint.client.options(endpoint.path, headers=preflight)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    assert "content-type" in answer.headers["access-control-allow-headers"].lower()


async def test_refusals_can_be_read_by_a_page_of_any_origin(endpoint: IntakeEndpoint) -> None:
    assert (await endpoint.post(b"x")).headers["access-control-allow-origin"] == "*"


async def test_bad_input_does_not_slow_good_input(endpoint: IntakeEndpoint) -> None:
    """A thousand refusals in a row, then the next valid request is answered at once."""
    invalid_body = json.dumps(endpoint.valid_body(email="nowhere")).encode()
    for _ in range(1_000):
        await endpoint.post(invalid_body)
    started = time.monotonic()
    assert (await endpoint.post(endpoint.valid_body())).status_code == 202
    assert time.monotonic() - started < 2
    assert endpoint.running.process.poll() is None

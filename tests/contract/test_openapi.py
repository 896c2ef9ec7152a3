"""The OpenAPI document of each service: well formed, complete, and true of its answers, fast route included."""

from __future__ import annotations

import asyncio
import compileall
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import openapi_spec_validator
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi import checks as openapi_checks

from deploy.local.databases import SERVICES
from deploy.local.endpoints import Endpoints
from services.notifications.domain.recipient_keys import RecipientKeys
from shared.privacy.keys import read_secret
from tests.support.generated_clients import generate_client
from tests.support.intakes import Intake, intake, message, posted, publish_and_wait, signature
from tests.support.seeding import Seed, unique

CHECKS: Final = (
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.response_headers_conformance,
)
EXAMPLES: Final = 12
"""Requests that are made up for each operation, the same ones in each run."""
ENDLESS: Final = "/v1/campaigns/{slug}/totals/live"
"""The stream of a known campaign has no end, so only its problems are asked for here; test_live.py reads it."""
API_KEY: Final = "openapi"
ROLES: Final = {"petitions": "intake", "letters": "intake", "notifications": "web", "marathon": "web"}
PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
LINKS: Final = {"show_confirm_link", "press_confirm_link", "show_withdraw_link", "press_withdraw_link"}
OPERATIONS: Final = {
    "petitions": {
        *("sign_petition", "sign_petitions_in_batch", "read_signature_receipt", "report_act"),
        *("read_petition", "list_signatories", *LINKS),
    },
    "letters": {"write_message", "report_posted_message", "read_message_receipt", *LINKS},
    "notifications": {"show_preferences", "change_preferences", "show_unsubscription", "unsubscribe"},
    "marathon": {
        *("list_campaigns", "read_campaign", "read_case", "read_totals", "follow_totals", "read_history"),
    },
}


@dataclass(frozen=True)
class Served:
    """A running service, what it knows, and its document."""

    running: Intake
    seed: Seed
    token: str

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = httpx.get(f"{self.running.origin}/openapi.json", timeout=20).json()
        return document

    def operations(self) -> list[tuple[str, str, dict[str, Any]]]:
        """The operations as (path, method, operation)."""
        paths = self.document["paths"]
        return [(path, method, paths[path][method]) for path in paths for method in paths[path]]

    def fill(self, case: Any) -> None:
        """Put what the service knows in the place of what was made up."""
        known = {"petition": self.seed.petition, "case": self.seed.case, "token": self.token, "language": "fr"}
        slugs = {
            "/v1/petitions": self.seed.petition,
            "/v1/declarations": self.seed.petition,
            "/v1/cases": self.seed.case,
        }
        slug = next((slug for prefix, slug in slugs.items() if case.path.startswith(prefix)), self.seed.slug)
        for values, names in ((case.path_parameters, {**known, "slug": slug}), (case.body, known)):
            if isinstance(values, dict) and case.path != ENDLESS:
                values.update({name: value for name, value in names.items() if name in values})
        if case.path == "/v1/signatures/batch":
            case.headers = {**(case.headers or {}), "Authorization": f"Bearer {API_KEY}"}


@pytest.fixture(scope="module", params=SERVICES)
def served(
    platform: Endpoints, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Served]:
    service: str = request.param
    seed = Seed(unique("openapi"), time.time(), api_key=API_KEY)
    context = intake(platform, service, tmp_path_factory.mktemp("service"), role=ROLES[service])
    with asyncio.Runner() as runner:
        running = runner.run(context.__aenter__())
        try:
            if service != "notifications":
                runner.run(publish_and_wait(running, seed))
            keys = RecipientKeys(read_secret(running.keys_folder() / "recipient.key"))
            yield Served(running, seed, keys.token(keys.recipient_key("ana@example.org")))
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def schema(served: Served) -> Any:
    return schemathesis.openapi.from_url(f"{served.running.origin}/openapi.json")


def nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all objects of a document."""
    if isinstance(node, dict):
        yield node
    if isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from nodes(child)


def test_a_document_is_valid_and_its_operations_keep_their_ids(served: Served) -> None:
    openapi_spec_validator.validate(served.document)
    ids = [operation["operationId"] for _path, _method, operation in served.operations()]
    assert sorted(ids) == sorted(OPERATIONS[served.running.service])


def test_a_document_names_its_server_and_each_schema_once(served: Served) -> None:
    document = served.document
    assert document["servers"] == [{"url": served.running.origin}]
    assert not [node for node in nodes(document) if node.get("items") is False or "$defs" in node]
    assert not [node for node in nodes(document["paths"]) if "properties" in node]
    assert "Problem" in document["components"]["schemas"]


def test_a_problem_has_one_schema_and_says_when_to_come_back(served: Served) -> None:
    for path, _method, operation in served.operations():
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            assert response["content"]["application/problem+json"]["schema"] == PROBLEM, (path, status)
            assert ("Retry-After" in response.get("headers", {})) == (status in ("429", "503")), (path, status)
        if "requestBody" in operation:
            assert {"413", "503"} <= operation["responses"].keys(), path


def test_a_submission_is_described_as_json_and_as_a_form(served: Served) -> None:
    schemas = served.document["components"]["schemas"]
    for path, _method, operation in served.operations():
        if "410" not in operation["responses"] or "requestBody" not in operation:
            continue
        content = operation["requestBody"]["content"]
        as_json, as_form = (
            schemas[content[media_type]["schema"]["$ref"].rpartition("/")[2]]
            for media_type in ("application/json", "application/x-www-form-urlencoded")
        )
        consents = schemas["Consent"]["properties"]
        assert as_form["properties"].keys() == (as_json["properties"].keys() - {"consent"}) | consents.keys()
        assert as_json["properties"]["email"]["format"] == as_form["properties"]["email"]["format"] == "email"
        assert consents["privacy"]["const"] is as_form["properties"]["privacy"]["const"] is True
        names = [(parameter["name"].lower(), parameter["in"]) for parameter in operation["parameters"]]
        assert names == [("idempotency-key", "header")], path


def test_only_the_batch_asks_for_a_key(served: Served) -> None:
    schemes = served.document["components"].get("securitySchemes", {})
    secured = {path: operation["security"] for path, _, operation in served.operations() if "security" in operation}
    if served.running.service == "petitions":
        assert (schemes["partner"]["type"], schemes["partner"]["scheme"]) == ("http", "bearer")
        assert secured == {"/v1/signatures/batch": [{"partner": []}]}
    else:
        assert (schemes, secured) == ({}, {})


def test_another_method_is_told_all_that_are_allowed(served: Served) -> None:
    for path, operations in served.document["paths"].items():
        address = path.replace("{slug}", "x").replace("{token}", "x").replace("{receipt}", "x")
        answer = httpx.delete(f"{served.running.origin}{address}", timeout=20)
        allowed = {method.upper() for method in operations} | ({"HEAD"} if "get" in operations else set())
        assert answer.status_code == 405, path
        assert set(answer.headers["allow"].split(", ")) == allowed, path


def test_every_answer_is_one_that_the_document_names(served: Served, schema: Any) -> None:
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(), st.booleans())
        def request(case: Any, known: bool) -> None:  # noqa: FBT001  hypothesis draws it
            if known:
                served.fill(case)
            answer = case.call(allow_redirects=False)
            case.validate_response(answer, checks=CHECKS)
            assert answer.status_code < 500

        request()


def test_the_examples_of_the_contract_fit_the_document(served: Served, schema: Any) -> None:
    seed = served.seed
    bodies = {
        "petitions": {"/v1/signatures": signature(seed)},
        "letters": {"/v1/messages": message(seed), "/v1/messages/posted": posted(seed)},
    }.get(served.running.service, {})
    for path, body in bodies.items():
        case = schema[path]["POST"].Case(body=body, media_type="application/json")
        answer = case.call()
        assert answer.status_code == 202
        case.validate_response(answer, checks=CHECKS)


def test_a_generated_client_compiles(served: Served, tmp_path: Path) -> None:
    assert compileall.compile_dir(generate_client(served.document, tmp_path), quiet=1)

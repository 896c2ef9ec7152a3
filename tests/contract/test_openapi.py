"""The OpenAPI document against the answers of the intakes, fast route included, by requests generated from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi import checks as openapi_checks

from deploy.local.endpoints import Endpoints
from tests.support.intakes import Intake, intake, message, posted, publish_and_wait, signature
from tests.support.seeding import Seed, unique

CHECKS = (
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.response_headers_conformance,
)


@pytest.fixture(scope="module", params=["petitions", "letters"])
def served(
    platform: Endpoints, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Intake, Seed]]:
    seed = Seed(unique("openapi"), time.time(), api_key="openapi")
    context = intake(platform, request.param, tmp_path_factory.mktemp("intake"))
    with asyncio.Runner() as runner:
        running = runner.run(context.__aenter__())
        try:
            runner.run(publish_and_wait(running, seed))
            yield running, seed
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def schema(served: tuple[Intake, Seed]) -> Any:
    return schemathesis.openapi.from_url(f"{served[0].origin}/openapi.json")


def test_every_answer_is_one_that_the_document_names(schema: Any) -> None:
    tested = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy())
        def request(case: Any) -> None:
            answer = case.call()
            case.validate_response(answer, checks=CHECKS)
            assert answer.status_code < 500 or answer.status_code == 503

        request()
        tested.add(operation.path)
    assert "/v1/signatures" in tested or "/v1/messages" in tested


def test_the_examples_of_the_contract_fit_the_document(served: tuple[Intake, Seed], schema: Any) -> None:
    running, seed = served
    bodies = (
        {"/v1/signatures": signature(seed)}
        if running.service == "petitions"
        else {"/v1/messages": message(seed), "/v1/messages/posted": posted(seed)}
    )
    for path, body in bodies.items():
        case = schema[path]["POST"].Case(body=body, media_type="application/json")
        answer = case.call()
        assert answer.status_code == 202
        case.validate_response(answer, checks=CHECKS)

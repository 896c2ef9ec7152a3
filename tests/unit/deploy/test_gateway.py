"""The one origin: what the gateway lets in, where it sends it, and what it never writes down."""

from __future__ import annotations

import json

import pytest
import yaml

from shared.http.cors import is_public
from shared.http.limits import body_limit
from shared.http.middleware import too_large
from shared.http.problem import Problem, unavailable
from tests.support import gateway

ROUTES = [
    ("petitions", "/v1/signatures"),
    ("petitions", "/v1/signatures/batch"),
    ("petitions", "/v1/signatures/a-receipt"),
    ("petitions", "/confirm/a-token"),
    ("petitions", "/withdraw/a-token"),
    ("petitions", "/thanks/a-receipt"),
    ("petitions", "/v1/petitions/free-azat"),
    ("petitions", "/v1/declarations/free-azat/signatories"),
    ("petitions", "/v1/acts"),
    ("petitions", "/desk/signatures/queue"),
    ("petitions", "/static/petitions/page.css"),
    ("letters", "/v1/messages"),
    ("letters", "/v1/messages/a-receipt"),
    ("letters", "/v1/messages/posted"),
    ("letters", "/letters/posted/azat-m"),
    ("letters", "/letters/posted/thanks/a-receipt"),
    ("letters", "/letters/confirm/a-token"),
    ("letters", "/letters/withdraw/a-token"),
    ("letters", "/letters/print/azat-m"),
    ("letters", "/v1/photos"),
    ("letters", "/v1/cases/azat-m/wall"),
    ("letters", "/desk/letters/queue"),
    ("letters", "/desk/moderation/next"),
    ("letters", "/static/letters/page.css"),
    ("marathon", "/v1/campaigns"),
    ("marathon", "/v1/campaigns/w4r-2026"),
    ("marathon", "/v1/cases/azat-m"),
    ("marathon", "/v1/campaigns/w4r-2026/totals"),
    ("marathon", "/v1/campaigns/w4r-2026/totals/live"),
    ("marathon", "/v1/campaigns/w4r-2026/history"),
    ("marathon", "/"),
    ("marathon", "/campaigns/w4r-2026"),
    ("marathon", "/campaigns/w4r-2026/board"),
    ("marathon", "/cases/azat-m"),
    ("marathon", "/desk/sign-in"),
    ("marathon", "/static/marathon/board.js"),
    ("notifications", "/preferences/a-token"),
    ("notifications", "/v1/unsubscribe/a-token"),
    ("notifications", "/desk/mail/bounced"),
    ("notifications", "/static/notifications/page.css"),
]
INSIDE = ["/livez", "/readyz", "/metrics", "/metrics/", "/openapi.json", "/asyncapi.json", "/docs", "/docs/style.css"]
PATHS = [path for _, path in ROUTES]


@pytest.mark.parametrize(("service", "path"), ROUTES)
def test_every_address_reaches_the_service_that_owns_it(service: str, path: str) -> None:
    assert gateway.upstream(path) == service


@pytest.mark.parametrize("path", INSIDE)
def test_what_operators_look_at_is_not_let_out(path: str) -> None:
    assert gateway.upstream(path) is None


@pytest.mark.parametrize("path", PATHS)
def test_the_gateway_takes_bodies_as_large_as_the_service_does(path: str) -> None:
    assert gateway.body_bytes(path) == body_limit(path)


@pytest.mark.parametrize("path", PATHS)
def test_no_body_is_ever_written_to_a_file(path: str) -> None:
    (http,) = gateway.read().all("http")
    place = gateway.location(path)
    for block in (http, place):
        assert block.argument("client_body_buffer_size") == block.argument("client_max_body_size")
    assert http.argument("proxy_max_temp_file_size") == "0"


@pytest.mark.parametrize("path", PATHS)
def test_the_log_knows_a_request_by_its_route_alone(path: str) -> None:
    route = next(setting.words[2] for setting in gateway.location(path).all("set") if setting.words[1] == "$route")
    assert "a-token" not in route
    assert "a-receipt" not in route


def test_no_log_holds_an_address_or_a_client() -> None:
    main = gateway.read()
    (http,) = main.all("http")
    (form,) = http.all("log_format")
    line = "".join(form.words[3:])
    variables = {word.strip('"},') for word in line.replace(":", " ").replace(",", " ").split() if "$" in word}
    assert variables == {"$time_iso8601", "$route", "$request_method", "$status", "$request_time", "$bytes_sent"}
    assert main.argument("error_log") == "stderr"
    assert main.all("error_log")[0].words[2] == "emerg"


def test_the_stream_of_totals_is_not_buffered() -> None:
    live = gateway.location("/v1/campaigns/w4r-2026/totals/live")
    assert live.argument("proxy_buffering") == "off"


def test_forwarding_headers_are_overwritten_never_passed_on() -> None:
    (http,) = gateway.read().all("http")
    sent = {header.words[1]: header.words[2] for header in http.all("proxy_set_header")}
    assert sent["X-Forwarded-For"] == "$remote_addr"
    (server,) = http.all("server")
    assert not [place for place in server.all("location") if place.all("proxy_set_header")]


@pytest.mark.parametrize(
    ("place", "problem"), [("@too_large", too_large()), ("@unavailable", unavailable()), ("@not_found", Problem(404))]
)
def test_the_gateway_answers_errors_as_the_services_do(place: str, problem: Problem) -> None:
    (http,) = gateway.read().all("http")
    (server,) = http.all("server")
    (found,) = [location for location in server.all("location") if location.words[1] == place]
    (answer,) = found.all("return")
    ours, theirs = json.loads(answer.words[2]), json.loads(problem.body())
    assert int(answer.words[1]) == ours["status"] == theirs["status"]
    assert ours["detail"] == theirs["detail"]
    assert found.argument("default_type") == "application/problem+json"


@pytest.mark.parametrize("path", PATHS)
def test_an_error_may_be_read_by_the_pages_that_may_read_the_answer(path: str) -> None:
    assert gateway.mapped("$any_origin", path) == ("*" if is_public(path) else "")


def test_upstreams_are_containers_and_their_ports() -> None:
    (http,) = gateway.read().all("http")
    services = yaml.safe_load((gateway.CONFIGURATION.parents[3] / "docker-compose.yml").read_text())["services"]
    for group in http.all("upstream"):
        host, _, port = (group.argument("server") or "").partition(":")
        assert services[host]["environment"]["PORT"] == int(port)

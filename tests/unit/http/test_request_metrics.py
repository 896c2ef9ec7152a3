"""What is measured of requests."""

from __future__ import annotations

from prometheus_client import REGISTRY

from shared.metrics import HTTP_REQUESTS

ROUTE = "/v1/of-this-test"


def series(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"milleplumes_{name}", {"route": ROUTE, **labels})


def test_answers_are_counted_by_status_and_timed_by_route() -> None:
    HTTP_REQUESTS.observe(ROUTE, "POST", 202, 0.004)
    HTTP_REQUESTS.observe(ROUTE, "POST", 202, 0.03)
    HTTP_REQUESTS.observe(ROUTE, "POST", 503, 20.0)
    assert series("http_requests_answered_total", method="POST", status="202") == 2
    assert series("http_requests_answered_total", method="POST", status="503") == 1
    assert series("http_request_seconds_bucket", le="0.005") == 1
    assert series("http_request_seconds_bucket", le="0.05") == 2
    assert series("http_request_seconds_bucket", le="10.0") == 2
    assert series("http_request_seconds_bucket", le="+Inf") == 3
    assert series("http_request_seconds_count") == 3
    assert series("http_request_seconds_sum") == 20.034


def test_a_process_says_its_version() -> None:
    assert [family for family in REGISTRY.collect() if family.name == "milleplumes_build"]

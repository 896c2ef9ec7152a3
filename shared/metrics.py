"""Every metric, in one place. Labels never hold ids, names or e-mail."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]

# --- HTTP: every service ---------------------------------------------------------------------------------------------

HTTP_ANSWERED: Final = Counter(
    "http_requests_answered",
    "Requests answered by ordinary routes, by the route's template.",
    ("route", "method", "status"),
)
HTTP_SECONDS: Final = Histogram(
    "http_request_seconds",
    "From the request's headers to the last byte of the answer, ordinary routes.",
    ("route",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

"""Every metric, in one place. Labels never hold ids, names or e-mail."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import accumulate
from operator import add
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]

Info("milleplumes_build", "The version of this process.").info({"version": version("milleplumes")})

# --- HTTP: every service ---------------------------------------------------------------------------------------------


def _cumulated(bounds: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    """Return `counts`, one for each of `bounds` and one above, as the buckets of Prometheus."""
    names = [*map(str, bounds), "+Inf"]
    return list(zip(names, map(float, accumulate(counts)), strict=True))


class RequestMetrics(Collector):
    """Requests answered by route, method and status, and their seconds by route, in one dictionary.

    prometheus_client's own counter and histogram would take 3% of what the intakes spend on an action.
    """

    _BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

    def __init__(self) -> None:
        self._observed: dict[tuple[str, str, int], list[float]] = {}
        REGISTRY.register(self)

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record one answer; `route` is the template of its path, `seconds` are from its headers to its last byte."""
        observed = self._observed.get((route, method, status))
        if observed is None:
            observed = self._observed[route, method, status] = [0.0] * (len(self._BOUNDS) + 2)
        observed[bisect_left(self._BOUNDS, seconds)] += 1
        observed[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that Prometheus scrapes."""
        answered = CounterMetricFamily(
            "milleplumes_http_requests_answered",
            "Requests answered, by the route's template.",
            labels=["route", "method", "status"],
        )
        seconds = HistogramMetricFamily(
            "milleplumes_http_request_seconds",
            "From the request's headers to the last byte of the answer.",
            labels=["route"],
        )
        by_route: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * (len(self._BOUNDS) + 2))
        for (route, method, status), observed in self._observed.items():
            answered.add_metric([route, method, str(status)], sum(observed[:-1]))
            by_route[route] = list(map(add, by_route[route], observed))
        for route, (*counts, total) in by_route.items():
            seconds.add_metric([route], _cumulated(self._BOUNDS, counts), total)
        yield from (answered, seconds)


HTTP_REQUESTS: Final = RequestMetrics()

# --- Intake: petitions and letters -----------------------------------------------------------------------------------

INTAKE_ACKNOWLEDGED: Final = Counter(
    "milleplumes_intake_records_acknowledged", "Records that the broker has stored.", ("topic",)
)
INTAKE_UNAVAILABLE: Final = Counter(
    "milleplumes_intake_records_unavailable", "Records answered 503, by what stood in the way.", ("topic", "reason")
)
INTAKE_REFUSED: Final = Counter("milleplumes_intake_actions_refused", "Actions refused, by code.", ("topic", "code"))
INTAKE_BACKLOG: Final = Gauge(
    "milleplumes_intake_backlog_bytes", "Bytes taken and not yet acknowledged.", ("topic", "partition")
)
WINDOW_SECONDS: Final = Histogram(
    "milleplumes_intake_window_seconds",
    "From a window's first record to its acknowledgement.",
    ("topic",),
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
WINDOW_RECORDS: Final = Histogram(
    "milleplumes_intake_window_records",
    "Records in one window.",
    ("topic",),
    buckets=(1, 3, 10, 30, 100, 300, 1_000, 3_000),
)
PRODUCERS_REPLACED: Final = Counter(
    "milleplumes_intake_producers_replaced", "Producers made anew after an error.", ("reason",)
)
CLOCK_DIFFERENCE: Final = Gauge(
    "milleplumes_intake_clock_difference_seconds", "The broker's clock less this process's own."
)

# --- Loops and outboxes: every service that turns records into rows ---------------------------------------------------

PARTITION_LAG: Final = Gauge(
    "milleplumes_partition_lag_records",
    "Records acknowledged by the broker and not yet turned into rows by a consumer group.",
    ("group", "topic", "partition"),
)
PARTITION_HALTED: Final = Gauge(
    "milleplumes_partition_halted",
    "1 where a consumer group stands still, because log and position disagree or a record cannot be written.",
    ("group", "topic", "partition"),
)
LOOP_FAILURES: Final = Counter(
    "milleplumes_loop_failures", "Transactions or reads that failed and were begun again.", ("group", "failure")
)
POISONED: Final = Counter(
    "milleplumes_poisoned_records",
    "Records set aside because processes died or errors came of them.",
    ("group", "topic"),
)
OUTBOX_AGE: Final = Gauge(
    "milleplumes_outbox_age_seconds", "How long the oldest row of the outbox has waited.", ("service",)
)
OUTBOX_SENT: Final = Counter(
    "milleplumes_outbox_rows_sent", "Rows of the outbox that Kafka has acknowledged.", ("service",)
)

# --- Mail: notifications ---------------------------------------------------------------------------------------------

MAIL_DELIVERIES: Final = Counter(
    "milleplumes_notifications_submissions_taken",
    "Submissions that made a delivery, or repeated one of the day before.",
    ("outcome",),
)
MAIL_SKIPPED: Final = Counter(
    "milleplumes_notifications_records_skipped",
    "Records that no mail can be made of; look for them in the log.",
    ("topic", "reason"),
)
MAILS: Final = Counter("milleplumes_notifications_mails", "Mails by what became of an attempt.", ("outcome",))
MAIL_SECONDS: Final = Histogram(
    "milleplumes_notifications_mail_seconds",
    "From the plan of a mail to the SMTP server's answer.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800),
)
DELIVERIES_PENDING: Final = Gauge("milleplumes_notifications_deliveries_pending", "Deliveries that no mail covers yet.")
DELIVERIES_OLDEST: Final = Gauge("milleplumes_notifications_deliveries_oldest_seconds", "Age of the oldest of them.")
MAILS_PENDING: Final = Gauge("milleplumes_notifications_mails_pending", "Mails that no SMTP server has taken yet.")
MAILS_OLDEST: Final = Gauge("milleplumes_notifications_mails_oldest_seconds", "Age of the oldest of them.")

# --- Totals and the live board: marathon -----------------------------------------------------------------------------

LEDGER_BATCHES: Final = Counter(
    "milleplumes_marathon_tally_batches", "Tally batches read, by what became of them.", ("outcome",)
)
LEDGER_HALTED: Final = Gauge(
    "milleplumes_marathon_ledger_halted", "Source partitions that contradict the ledger and stand still."
)
TOTALS_AGE: Final = Gauge(
    "milleplumes_marathon_totals_age_seconds", "How far the totals lie behind what the broker has stored."
)
TOTALS_PUBLISHED: Final = Counter("milleplumes_marathon_totals_published", "Totals documents put in the outbox.")
STREAMS_OPEN: Final = Gauge("milleplumes_marathon_streams_open", "Open event streams of the live board.")
STREAMS_CUT: Final = Counter("milleplumes_marathon_streams_cut", "Streams ended because their reader was too slow.")

# --- Counting: petitions and letters ----------------------------------------------------------------------------------

ACTIONS_COUNTED: Final = Counter("milleplumes_actions_counted", "Actions that were new.", ("topic",))
ACTIONS_REPEATED: Final = Counter("milleplumes_actions_repeated", "Submissions that changed nothing.", ("topic",))
DEAD_LETTERS: Final = Counter("milleplumes_dead_letters", "Records that could not be counted.", ("topic", "reason"))


class CountedHistogram(Collector):
    """A histogram that takes many equal observations at once: ten thousand records share a few times of acceptance."""

    def __init__(self, name: str, help_text: str, label: str, bounds: Sequence[float]) -> None:
        self._name, self._help, self._label, self._bounds = name, help_text, label, tuple(bounds)
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        REGISTRY.register(self)

    def observe(self, label: str, value: float, count: int) -> None:
        """Record `count` observations of `value`."""
        counts = self._counts.setdefault(label, [0] * (len(self._bounds) + 1))
        counts[bisect_left(self._bounds, value)] += count
        self._sums[label] = self._sums.get(label, 0.0) + value * count

    def collect(self) -> Iterator[Metric]:
        """Yield the metric that Prometheus scrapes."""
        family = HistogramMetricFamily(self._name, self._help, labels=[self._label])
        for label, counts in self._counts.items():
            family.add_metric([label], _cumulated(self._bounds, counts), self._sums[label])
        yield family


ACCEPT_TO_COUNT: Final = CountedHistogram(
    "milleplumes_accept_to_count_seconds",
    "From the broker's acceptance of a record to its counting.",
    "topic",
    (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)

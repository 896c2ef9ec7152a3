"""Every metric, in one place. Labels never hold ids, names or e-mail."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

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

# --- Intake: petitions and letters -----------------------------------------------------------------------------------

INTAKE_ACKNOWLEDGED: Final = Counter("intake_records_acknowledged", "Records that the broker has stored.", ("topic",))
INTAKE_UNAVAILABLE: Final = Counter(
    "intake_records_unavailable", "Records answered 503, by what stood in the way.", ("topic", "reason")
)
INTAKE_REFUSED: Final = Counter("intake_actions_refused", "Actions refused, by code.", ("topic", "code"))
INTAKE_BACKLOG: Final = Gauge("intake_backlog_bytes", "Bytes taken and not yet acknowledged.", ("topic", "partition"))
WINDOW_SECONDS: Final = Histogram(
    "intake_window_seconds",
    "From a window's first record to its acknowledgement.",
    ("topic",),
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
WINDOW_RECORDS: Final = Histogram(
    "intake_window_records", "Records in one window.", ("topic",), buckets=(1, 3, 10, 30, 100, 300, 1_000, 3_000)
)
PRODUCERS_REPLACED: Final = Counter("intake_producers_replaced", "Producers made anew after an error.", ("reason",))
CLOCK_DIFFERENCE: Final = Gauge("intake_clock_difference_seconds", "The broker's clock less this process's own.")

# --- Loops and outboxes: every service that turns records into rows ---------------------------------------------------

PARTITION_LAG: Final = Gauge(
    "partition_lag_records",
    "Records acknowledged by the broker and not yet turned into rows by a consumer group.",
    ("group", "topic", "partition"),
)
PARTITION_HALTED: Final = Gauge(
    "partition_halted",
    "1 where a consumer group stands still, because log and position disagree or a record cannot be written.",
    ("group", "topic", "partition"),
)
LOOP_FAILURES: Final = Counter("loop_failures", "Transactions or reads that failed and were begun again.", ("failure",))
POISONED: Final = Counter("poisoned_records", "Records set aside because processes died of them.", ("topic",))
OUTBOX_AGE: Final = Gauge("outbox_age_seconds", "How long the oldest row of the outbox has waited.", ("service",))
OUTBOX_SENT: Final = Counter("outbox_rows_sent", "Rows of the outbox that Kafka has acknowledged.", ("service",))

# --- Mail: notifications ---------------------------------------------------------------------------------------------

MAIL_DELIVERIES: Final = Counter(
    "notifications_submissions_taken",
    "Submissions that made a delivery, or repeated one of the day before.",
    ("outcome",),
)
MAIL_SKIPPED: Final = Counter(
    "notifications_records_skipped",
    "Records that no mail can be made of; look for them in the log.",
    ("topic", "reason"),
)
MAILS: Final = Counter("notifications_mails", "Mails by what became of an attempt.", ("outcome",))
MAIL_SECONDS: Final = Histogram(
    "notifications_mail_seconds",
    "From the plan of a mail to the SMTP server's answer.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800),
)
DELIVERIES_PENDING: Final = Gauge("notifications_deliveries_pending", "Deliveries that no mail covers yet.")
DELIVERIES_OLDEST: Final = Gauge("notifications_deliveries_oldest_seconds", "Age of the oldest of them.")
MAILS_PENDING: Final = Gauge("notifications_mails_pending", "Mails that no SMTP server has taken yet.")
MAILS_OLDEST: Final = Gauge("notifications_mails_oldest_seconds", "Age of the oldest of them.")

# --- Totals and the live board: marathon -----------------------------------------------------------------------------

LEDGER_BATCHES: Final = Counter("marathon_tally_batches", "Tally batches read, by what became of them.", ("outcome",))
LEDGER_HALTED: Final = Gauge("marathon_ledger_halted", "Source partitions that contradict the ledger and stand still.")
TOTALS_AGE: Final = Gauge("marathon_totals_age_seconds", "How far the totals lie behind what the broker has stored.")
TOTALS_PUBLISHED: Final = Counter("marathon_totals_published", "Totals documents put in the outbox.")
STREAMS_OPEN: Final = Gauge("marathon_streams_open", "Open event streams of the live board.")
STREAMS_CUT: Final = Counter("marathon_streams_cut", "Streams ended because their reader was too slow.")

# --- Counting: petitions and letters ----------------------------------------------------------------------------------

ACTIONS_COUNTED: Final = Counter("actions_counted", "Actions that were new.", ("topic",))
ACTIONS_REPEATED: Final = Counter("actions_repeated", "Submissions that changed nothing.", ("topic",))
DEAD_LETTERS: Final = Counter("dead_letters", "Records that could not be counted.", ("topic", "reason"))


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
            bounds = [*(str(bound) for bound in self._bounds), "+Inf"]
            family.add_metric(
                [label],
                list(zip(bounds, (float(total) for total in accumulate(counts)), strict=True)),
                self._sums[label],
            )
        yield family


ACCEPT_TO_COUNT: Final = CountedHistogram(
    "accept_to_count_seconds",
    "From the broker's acceptance of a record to its counting.",
    "topic",
    (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)

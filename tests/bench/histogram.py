"""Quantiles of what happened between two readings of a Prometheus histogram."""

from __future__ import annotations

from collections import defaultdict
from math import inf

from prometheus_client.parser import text_string_to_metric_families


def buckets(metrics: str, name: str) -> dict[float, float]:
    """Cumulative counts by upper bound of the histogram `name` in `metrics`, over all its labels and processes."""
    counts: defaultdict[float, float] = defaultdict(float)
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == f"{name}_bucket":
                counts[float(sample.labels["le"])] += sample.value
    return dict(counts)


def quantile(share: float, before: dict[float, float], after: dict[float, float]) -> float:
    """The value below which `share` of what was observed between the readings lies, linear within its bucket.

    Infinite where it lies above the last bound; 0 where nothing was observed.
    """
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    wanted = share * max(counts.values(), default=0.0)
    lower, below = 0.0, 0.0
    for bound, count in counts.items():
        if count >= wanted and count > below:
            return inf if bound == inf else lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return 0.0

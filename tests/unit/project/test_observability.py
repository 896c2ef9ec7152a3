"""Dashboards and alerts: every metric that they name is one that a service exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml
from prometheus_client import REGISTRY

from deploy.local.home import PROJECT
from shared import metrics

DASHBOARD: Final[dict[str, Any]] = json.loads((PROJECT / "deploy/grafana/dashboards/milleplumes.json").read_text())
ALERTS: Final[list[dict[str, Any]]] = [
    rule
    for group in yaml.safe_load((PROJECT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
SUFFIXES: Final = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
PROMETHEUS_METRICS: Final = {"up"}
PROMQL_WORDS: Final = {"sum", "max", "by", "rate", "increase", "abs", "absent", "vector", "or", "unless", "offset"} | {
    "histogram_quantile",
    "le",
}
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]] + [
    rule["expr"] for rule in ALERTS
]


def exported_series() -> set[str]:
    """Return the names of all time series that a process may export."""
    assert metrics.PARTITION_LAG in REGISTRY._collector_to_names
    return {family.name + suffix for family in REGISTRY.collect() for suffix in SUFFIXES.get(family.type, ())}


def series_in(query: str) -> Iterator[str]:
    """Yield the names of time series in `query`."""
    bare = re.sub(r"by \([^)]*\)|\{[^}]*\}|\[[^\]]*\]|\boffset \w+", " ", query)
    for word in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare):
        if word not in PROMQL_WORDS:
            yield word


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_only_what_is_measured(query: str) -> None:
    names = set(series_in(query))
    assert names
    assert names <= exported_series() | PROMETHEUS_METRICS
    assert query.count("(") == query.count(")")


def test_the_dashboard_shows_what_operators_ask_for() -> None:
    series = {
        name for panel in DASHBOARD["panels"] for target in panel["targets"] for name in series_in(target["expr"])
    }
    assert series >= {
        "milleplumes_intake_records_acknowledged_total",
        "milleplumes_intake_actions_refused_total",
        "milleplumes_intake_records_unavailable_total",
        "milleplumes_actions_counted_total",
        "milleplumes_actions_repeated_total",
        "milleplumes_partition_lag_records",
        "milleplumes_accept_to_count_seconds_bucket",
        "milleplumes_outbox_age_seconds",
        "milleplumes_marathon_streams_open",
        "milleplumes_notifications_mails_total",
        "milleplumes_dead_letters_total",
        "milleplumes_partition_halted",
    }


def test_panels_have_names_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(panels)
    occupied: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & occupied
        assert at["x"] + at["w"] <= 24
        occupied |= cells


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_an_alert_says_what_is_wrong_how_grave_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"].endswith(".")
    assert f"`{rule['alert']}`" in (PROJECT / rule["annotations"]["runbook"]).read_text()
    assert re.fullmatch(r"\d+[sm]", rule.get("for", "0s"))


def test_what_must_never_happen_quietly_raises_an_alert() -> None:
    series = {name for rule in ALERTS for name in series_in(rule["expr"])}
    assert series >= {
        "milleplumes_dead_letters_total",
        "milleplumes_poisoned_records_total",
        "milleplumes_partition_halted",
        "milleplumes_marathon_ledger_halted",
        "milleplumes_partition_lag_records",
        "milleplumes_outbox_age_seconds",
        "milleplumes_intake_clock_difference_seconds",
    }


def test_a_process_of_any_kind_that_is_gone_raises_an_alert() -> None:
    jobs = yaml.safe_load((PROJECT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    [gone] = [rule["expr"] for rule in ALERTS if rule["alert"] == "ProcessIsGone"]
    for job in jobs:
        assert f'absent(up{{job="{job["job_name"]}"}})' in gone


def test_no_metric_has_a_label_that_could_name_somebody() -> None:
    labels = {label for metric in vars(metrics).values() for label in getattr(metric, "_labelnames", ())}
    assert labels <= {
        "code",
        "failure",
        "group",
        "method",
        "outcome",
        "partition",
        "reason",
        "route",
        "service",
        "status",
        "topic",
    }


def test_grafana_finds_its_dashboard_and_prometheus() -> None:
    compose = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]
    provisioning = PROJECT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "milleplumes.yml").read_text())["providers"]
    mounted = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"])
    assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"

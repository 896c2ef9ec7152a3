from __future__ import annotations

import os
import subprocess
import sys
import time
from math import inf

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from tests.bench import processes
from tests.bench.histogram import buckets, quantile
from tests.bench.load import LoadResult
from tests.bench.report import GOALS, Goal
from tests.bench.rows.posts import exact
from tests.bench.stand import TallySnapshot


def observed(*values: float) -> str:
    registry = CollectorRegistry()
    histogram = Histogram("waited_seconds", "For a test.", ("topic",), buckets=(0.1, 0.2, 1), registry=registry)
    for value in values:
        histogram.labels("a").observe(value)
        histogram.labels("b").observe(value)
    return generate_latest(registry).decode()


def seen(**changes: float) -> LoadResult:
    fields = {"requests": 1000, "refused": 0, "broken": 0, "timeouts": 0, "issued": 1010, "people": 909}
    more = {"late_p99_ms": 0.0, "owed": 0, "cpu_s": 0.5, "bytes": 100_000}
    times = {"seconds": 1.0, "p50_ms": 1.0, "p99_ms": 1.0, "p999_ms": 1.0}
    return LoadResult(**{**fields, **more, **times, **changes})  # type: ignore[arg-type]


def test_a_quantile_counts_only_what_came_between_the_readings() -> None:
    before = buckets(observed(*[0.9] * 100), "waited_seconds")
    after = buckets(observed(*[0.9] * 100, *[0.15] * 100), "waited_seconds")
    assert 0.19 < quantile(0.99, before, after) <= 0.2
    assert quantile(0.99, after, after) == 0


def test_a_quantile_above_the_last_bound_is_not_made_up() -> None:
    assert quantile(0.99, {}, buckets(observed(*[5.0] * 10), "waited_seconds")) == inf


def test_histograms_of_several_labels_and_processes_are_added() -> None:
    text = observed(0.05)
    assert buckets(f"{text}\n{text}".replace("# EOF", ""), "waited_seconds")[0.1] == 4


def test_cpu_counts_children_alive_and_ended() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    before = processes.cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", burn], check=True, timeout=30)
    ended = processes.cpu_seconds(os.getpid())
    assert ended - before >= 0.2
    with subprocess.Popen([sys.executable, "-c", f"{burn}\ninput()"], stdin=subprocess.PIPE) as child:
        deadline = time.monotonic() + 30
        while processes.cpu_seconds(child.pid) < 0.2:
            assert time.monotonic() < deadline
        assert processes.cpu_seconds(os.getpid()) - ended >= 0.2
        child.communicate(b"\n")


def test_memory_of_this_process_is_read_and_of_no_process_is_none() -> None:
    assert 5 < processes.resident_mb(os.getpid()) < 2_000
    assert processes.resident_mb(2**30) == 0


@pytest.mark.parametrize(
    ("rows", "cells", "board", "taken", "holds"),
    [
        (905, 905, 905, 1005, True),
        (909, 909, 909, 1010, True),
        (905, 904, 905, 1005, False),
        (905, 905, 904, 1005, False),
        (880, 880, 880, 1005, False),
        (910, 910, 910, 1010, False),
        (905, 905, 905, 999, False),
        (905, 905, 905, 1011, False),
    ],
)
def test_a_run_is_exact_only_if_all_agree_and_the_load_allows_it(
    rows: int, cells: int, board: int, taken: int, *, holds: bool
) -> None:
    nothing = TallySnapshot(0, 0, 0)
    assert exact(seen(), nothing, TallySnapshot(rows, cells, board), taken, open_at_end=10) is holds


def test_a_goal_knows_which_way_is_better() -> None:
    assert Goal(10, 20).verdict(15) == "reached"
    assert Goal(10, 20).verdict(20) == "aim reached"
    assert Goal(10, 20).verdict(9) == "missed"
    assert GOALS["single.p99_ms"].verdict(26) == "missed"
    assert GOALS["single.p99_ms"].verdict(9) == "aim reached"

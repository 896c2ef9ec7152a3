from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from shared.errors import SetupError
from tests.bench import arrivals, report, sketch
from tests.bench.arrivals import Point
from tests.bench.costs import CostSample, MachineTime, shares
from tests.bench.machine import Machine
from tests.bench.plots import Line, Panel, drawing
from tests.bench.report import RunInfo
from tests.bench.rounds import ROWS, select_rows

MEASURED: dict[str, float | bool] = {
    "single.accepted_per_s": 30_000.0,
    "single.intake_us": 30.0,
    "single.kafka_us": 10.0,
    "single.marathon_us": 2.0,
    "batch100.counter_us": 6.0,
    "batch100.postgres_us": 6.0,
    "growth.cost_ratio_20m": 1.5,
    "counter20m.wal_bytes": 500.0,
    "exact": True,
}


def about(*rows: str, quick: bool = False) -> RunInfo:
    machine = Machine("A processor", 2, 24, "Linux 6", "3.11.7")
    return RunInfo(machine, "2026-11-27T10:00:00Z", 0.01, 1800.0, quick, rows)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "JSON_FILE", tmp_path / "build" / "bench.json")
    monkeypatch.setattr(report, "PAGE", tmp_path / "docs" / "benchmarks.md")
    monkeypatch.setattr(report, "PLOTTED", tmp_path / "build")
    monkeypatch.setattr(report, "IMAGES", tmp_path / "docs" / "images")
    return tmp_path


def test_the_steepest_minutes_are_those_in_which_most_signed() -> None:
    slow = [Point(60.0 * minute, 10.0 * minute) for minute in range(10)]
    fast = [Point(600.0 + 60 * minute, 100.0 + 50 * minute) for minute in range(4)]
    assert arrivals.steepest([*slow, *fast], minutes=3) == [50, 50, 50]


def test_minutes_between_points_far_apart_are_not_made_up() -> None:
    leap = [Point(0, 0), Point(600, 100_000)]
    course = [Point(600 + 120.0 * number, 100_000 + 20.0 * number) for number in range(5)]
    assert arrivals.steepest([*leap, *course], minutes=2) == [10, 10]


def test_the_real_curve_has_ten_steep_minutes() -> None:
    minutes = arrivals.steepest(arrivals.read())
    assert len(minutes) == 10
    assert all(2_000 < people < 3_000 for people in minutes)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_plot_is_well_formed_and_stays_within_its_frame(*, logarithmic: bool) -> None:
    lines = [Line("a < b", [(0, 0), (10, 12_345)]), Line("c", [(0, 3), (20, 0.5)])]
    svg = drawing("Title & more", [Panel("p", lines, "x", logarithmic=logarithmic, dots=True), Panel("q", lines, "x")])
    root = ET.fromstring(svg)  # noqa: S314  made a line above
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    ways = root.findall("{*}polyline")
    assert len(ways) == 4
    for way in ways:
        for place in way.attrib["points"].split():
            x, y = map(float, place.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


def test_the_sketch_is_computed_from_measured_costs() -> None:
    parts = {part.name: part for part in sketch.parts(MEASURED)}
    assert parts["intake"].many == 50
    assert parts["counter"].many == 15
    assert parts["broker"].many == 7
    assert parts["database of petitions"].alone_per_s == pytest.approx(1_000_000)
    assert sketch.partitions(list(parts.values())) == 16
    assert "What gives way first is the ledger of marathon" in "\n".join(sketch.text(list(parts.values())))


def test_without_its_costs_there_is_no_sketch() -> None:
    assert sketch.parts({"single.intake_us": 30.0}) == []
    assert sketch.text([]) == []
    assert sketch.figures_of([]) == {}


def test_shares_of_the_machine_leave_over_what_nobody_owns() -> None:
    before = CostSample({"intake": 1.0}, MachineTime(0, 0, 0, 0, 0, 0, 0, 0), bench=0.0)
    after = CostSample({"intake": 5.0}, MachineTime(6, 0, 2, 9, 1, 0, 1, 1), bench=1.0)
    found = shares(before, after, generator_s=2.0)
    assert found.idle == pytest.approx(0.5)
    assert found.stolen == pytest.approx(0.05)
    assert found.softirq == pytest.approx(0.05)
    assert found.unaccounted == pytest.approx((20 - 10 - 1 - 7) / 20)


def test_rows_are_chosen_by_name_or_by_length() -> None:
    assert {row.name for row in select_rows(quick=True, names=())} == {"single", "flushed", "batch100"}
    assert select_rows(quick=False, names=()) == list(ROWS)
    assert [row.name for row in select_rows(quick=False, names=["counter"])] == ["counter", "counter"]
    with pytest.raises(SetupError, match="no such row: singel"):
        select_rows(quick=True, names=["singel"])


def test_a_whole_measurement_writes_page_plots_and_figures(files: Path) -> None:
    (files / "build").mkdir()
    (files / "docs" / "images").mkdir(parents=True)
    (files / "build" / "bench-growth.svg").write_text("<svg/>")
    report.write(MEASURED, about())
    page = (files / "docs" / "benchmarks.md").read_text()
    assert "| `single.accepted_per_s` | 30,000 | 25,000 | 40,000 | reached |" in page
    assert "![Growth](images/bench-growth.svg)" in page
    assert "bench-spike.svg" not in page
    assert (files / "docs" / "images" / "bench-growth.svg").exists()
    document = json.loads((files / "build" / "bench.json").read_text())
    assert document["single.accepted_per_s"] == 30_000
    assert document["command"] == "make bench"


def test_a_few_rows_alone_leave_the_page_as_it_is(files: Path) -> None:
    assert report.write(MEASURED, about("single", quick=True)) == [files / "build" / "bench.json"]
    assert not (files / "docs").exists()
    assert json.loads((files / "build" / "bench.json").read_text())["command"] == "QUICK=1 ROWS=single make bench"


def test_rows_that_are_measured_again_take_their_place_in_the_whole(files: Path) -> None:
    (files / "docs" / "images").mkdir(parents=True)
    report.write(MEASURED, about())
    report.write({"single.accepted_per_s": 20_000.0, "single.repeats_exact": False}, about("single"))
    page = (files / "docs" / "benchmarks.md").read_text()
    assert "Written by `make bench` on 2026-11-27" in page
    assert "What `ROWS=single make bench` measures is of a later run, on 2026-11-27." in page
    assert "| `single.accepted_per_s` | 20,000 | 25,000 | 40,000 | missed |" in page
    assert "| `single.intake_us` | 30 | 30 | 18 | reached |" in page
    document = json.loads((files / "build" / "bench.json").read_text())
    assert document["exact"] is False
    assert document["again"] == [["ROWS=single make bench", "2026-11-27T10:00:00Z"]]

"""Strokes, map and minutes, which never show more than the count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.web.strokes import milestone, strokes
from shared.web.views.minutes import minutes_view
from shared.web.world import stroke_class, territories_by_class

COUNTS = st.integers(min_value=0, max_value=10**10)


@given(count=COUNTS, goal=st.integers(min_value=1, max_value=10**10), of=st.sampled_from((10, 50, 100)))
def test_strokes_are_never_ahead_of_the_count(count: int, goal: int, of: int) -> None:
    drawn = strokes(count, goal, of)
    assert 0 <= drawn.written <= of
    assert drawn.written * goal <= count * of or drawn.written == 0


@given(count=COUNTS, goal=st.integers(min_value=1, max_value=10**10))
def test_the_last_stroke_is_written_only_when_the_goal_is_reached(count: int, goal: int) -> None:
    drawn = strokes(count, goal)
    assert (drawn.written == drawn.total) == (count >= goal) == drawn.full


@pytest.mark.parametrize(
    ("count", "goal", "end"), [(612_480, 650_000, "93.6"), (5_154_004, 6_500_000, "78.1"), (7, 5, "100"), (0, 5, "0")]
)
def test_strokes_end_where_the_pen_was_lifted(count: int, goal: int, end: str) -> None:
    assert strokes(count, goal).end == end


def test_no_goal_of_nothing_is_ever_full() -> None:
    assert strokes(5, 0).written == 0


@given(count=COUNTS)
def test_a_milestone_lies_ahead_and_is_round(count: int) -> None:
    ahead = milestone(count)
    assert ahead > count
    assert ahead >= 100
    assert str(ahead).rstrip("0") in {"1", "2", "5"}


@pytest.mark.parametrize(
    ("count", "drawn"),
    [(0, 0), (9, 0), (10, 1), (99, 1), (100, 2), (1_000, 3), (10_000, 4), (99_999, 4), (100_000, 5), (10**9, 5)],
)
def test_six_classes_follow_the_powers_of_ten(count: int, drawn: int) -> None:
    assert stroke_class(count) == drawn


def test_every_land_of_the_map_is_drawn_once_whatever_the_counts() -> None:
    codes_without_counts = [land.code for lands_of_class in territories_by_class({}) for land in lands_of_class]
    codes_with_counts = [
        land.code for lands_of_class in territories_by_class({"GB": 4_948_111, "TV": 90}) for land in lands_of_class
    ]
    assert sorted(codes_without_counts) == sorted(codes_with_counts) == sorted(set(codes_with_counts))
    assert len(codes_with_counts) == 245


def test_a_land_is_drawn_with_the_pen_of_its_count() -> None:
    classes = territories_by_class({"GB": 4_948_111, "TV": 90})
    britain = next(land for land in classes[5] if land.code == "GB")
    assert britain.path == "M469.5 75.9l1.9 -7.8M464.7 85.5l1.9 -7.8M474.3 85.5l1.9 -7.8"
    assert [land.code for land in classes[1]] == ["TV"]


def test_minutes_end_with_the_minute_that_is_not_over() -> None:
    view = minutes_view([(3_540, 12), (3_480, 24)], as_of=3_599.9)
    assert (view.start, view.end) == (0, 3_600)
    assert (view.peak, view.latest) == (24, 12)
    assert view.past == "M58.5 100V6"
    assert view.current == "M59.5 100V53"
    assert [span.count for span in view.spans] == [0, 0, 0, 0, 0, 36]


def test_minutes_outside_the_hour_are_left_out() -> None:
    view = minutes_view([(3_600, 5), (-60, 5)], as_of=3_599.9)
    assert view.peak == 0
    assert view.past == view.current == ""


@given(st.lists(st.tuples(st.integers(0, 7_200).map(float), st.integers(-50, 10**6)), max_size=40))
def test_the_table_of_minutes_adds_up_to_what_was_in_the_hour(history: list[tuple[float, int]]) -> None:
    view = minutes_view(history, as_of=7_100.0)
    assert sum(span.count for span in view.spans) == sum(count for at, count in history if view.start <= at < view.end)

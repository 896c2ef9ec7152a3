"""Clocks, and times in the format of RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import parse_rfc3339, rfc3339, utc
from tests.support.clock import ManualClock


def test_a_printed_time_is_never_ahead_of_the_true_one() -> None:
    assert rfc3339(1_796_126_400.2509) == "2026-12-01T12:00:00.250Z"


@given(st.integers(0, 4_102_444_800_000))
def test_a_printed_time_reads_back(milliseconds: int) -> None:
    assert round(parse_rfc3339(rfc3339((milliseconds + 0.5) / 1000)) * 1000) == milliseconds


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        parse_rfc3339("2026-12-01T12:00:00")


def test_a_set_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(datetime(2026, 12, 1, tzinfo=UTC))
    clock.advance(1.5)
    assert utc(clock.now()) == datetime(2026, 12, 1, 0, 0, 1, 500_000, tzinfo=UTC)

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from deploy.demo import verdict

EXPECTED = {"by_country": {"FR": 2, "BE": 1}, "by_kind": {"signature": 3}, "by_evidence": {"recorded": 3}}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "total": 3,
        "public_total": 3,
        "by_country": {"FR": 2, "BE": 1, "other": 0},
        "by_kind": {"signature": 3},
        "by_evidence": {"recorded": 3},
    } | changes


def all_hold(document_: dict[str, Any]) -> bool:
    countries, rest = verdict.compare("petition", EXPECTED, document_)
    return all(line.holds for line in (*countries, *rest))


def test_equal_totals_hold() -> None:
    assert all_hold(document())


@pytest.mark.parametrize(
    "changes",
    [
        {"total": 4},
        {"public_total": 2},
        {"by_country": {"FR": 2, "BE": 1, "other": 1}},
        {"by_country": {"FR": 2}},
        {"by_country": {"FR": 2, "BE": 1, "DE": 1}},
        {"by_country": {"FR": 1, "BE": 2}},
        {"by_evidence": {"recorded": 2, "confirmed": 1}},
        {"by_kind": {"signature": 3, "letter": 1}},
    ],
)
def test_any_difference_fails(changes: dict[str, Any]) -> None:
    assert not all_hold(document(**changes))


def test_a_line_with_a_range_holds_inside_it_alone() -> None:
    line = verdict.Comparison("repeats", 3, 5, 0)
    assert [verdict.Comparison("repeats", 3, 5, found).holds for found in (2, 3, 5, 6)] == [False, True, True, False]
    assert line.expected == "3 to 5"


def test_the_table_names_every_country_and_what_differs() -> None:
    output = StringIO()
    countries, rest = verdict.compare("petition", EXPECTED, document(by_country={"FR": 2, "BE": 7, "other": 0}))
    verdict.print_comparisons(Console(file=output, width=120), countries, rest)
    printed = output.getvalue()
    assert "FR" in printed
    assert printed.count("differs") == 1

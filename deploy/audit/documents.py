"""Published totals documents against the ledger: does what was shown follow from the rows that it names?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

MAPS: Final = ("by_case", "by_country", "by_kind", "by_channel", "by_language")
LONGEST: Final = 200
"""So much of a map is printed."""


def faults(document: Mapping[str, Any], campaign: Mapping[str, Any], sums: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with `document`, given the campaign and the exact `sums` by evidence, case and country.

    Numbers that a threshold keeps from moving are checked as far as they are bound: by their sum.
    """
    policies = campaign["policies"]
    public, safe = set(policies["public_evidence"]), policies["safety_mode"]
    step = policies["public_threshold"] if safe else 1
    exact: dict[str, Counter[str]] = {name: Counter() for name in ("evidence", "case", "country")}
    for row in sums:
        exact["evidence"][row["evidence"]] += row["change"]
        if row["evidence"] in public:
            exact["case"][row["case"]] += row["change"]
            exact["country"][row["country"]] += row["change"]
    by_evidence = {
        name: count // step * step for name, count in exact["evidence"].items() if not safe or name in public
    }
    expected: dict[str, Any] = {
        "total": sum(by_evidence.values()),
        "public_total": sum(count for name, count in by_evidence.items() if name in public),
        "by_evidence": _not_zero(by_evidence),
    }
    if not safe:
        expected["by_case"] = _not_zero(exact["case"])
    if policies["public_threshold"] == 1:
        expected["by_country"] = _not_zero(exact["country"])
    found = [
        f"{name} is {_short(document[name])}, the ledger gives {_short(wanted)}"
        for name, wanted in expected.items()
        if (_not_zero(document[name]) if isinstance(wanted, dict) else document[name]) != wanted
    ]
    found += [
        f"{name} adds up to {sum(document[name].values())}, not to {document['public_total']}"
        for name in (*MAPS, *(("by_section",) if document.get("by_section") else ()))
        if sum(document[name].values()) != document["public_total"]
    ]
    return found


def _not_zero(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."

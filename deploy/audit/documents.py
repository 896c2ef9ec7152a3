"""Check published totals documents against the ledger rows that they name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

MAPS: Final = ("by_case", "by_country", "by_kind", "by_channel", "by_language")
MAX_REASONS: Final = 8
"""More reasons than a decrease can have, apart from the words of decisions: withdrawn, invalidated, policy-changed,
source-restored and the recoveries."""
MAX_PRINTED_CHARS: Final = 200


def faults(
    document: Mapping[str, Any], campaign: Mapping[str, Any], sums: Iterable[Mapping[str, Any]], *, reasons: int = 0
) -> list[str]:
    """Return the faults of `document`, given the campaign and the exact `sums` by evidence, case and country.

    `reasons` is how many words decisions give for changes of the campaign. Figures that a threshold keeps from moving
    are checked by their sum only.
    """
    policies = campaign["policies"]
    public = set(policies["public_evidence"])
    if policies["safety_mode"]:
        return [*_safe_faults(document, campaign, sums, reasons), *_unequal_sums(document)]
    exact: dict[str, Counter[str]] = {name: Counter() for name in ("evidence", "case", "country")}
    for row in sums:
        exact["evidence"][row["evidence"]] += row["change"]
        if row["evidence"] in public:
            exact["case"][row["case"]] += row["change"]
            exact["country"][row["country"]] += row["change"]
    expected: dict[str, Any] = {
        "total": exact["evidence"].total(),
        "public_total": sum(count for name, count in exact["evidence"].items() if name in public),
        "by_evidence": _not_zero(exact["evidence"]),
        "by_case": _not_zero(exact["case"]),
    }
    if policies["public_threshold"] == 1:
        expected["by_country"] = _not_zero(exact["country"])
    different = [
        f"{name} is {_short(document[name])}, the ledger gives {_short(value)}"
        for name, value in expected.items()
        if (_not_zero(document[name]) if isinstance(value, dict) else document[name]) != value
    ]
    return [*different, *_unequal_sums(document)]


def _safe_faults(
    document: Mapping[str, Any], campaign: Mapping[str, Any], sums: Iterable[Mapping[str, Any]], reasons: int
) -> list[str]:
    """Check a document of safety mode.

    A figure is never below its true value cut to steps. It exceeds it only by what has not moved it yet: less than a
    step for each figure and for each reason of a decrease that the record does not show yet.
    """
    policies = campaign["policies"]
    public, step = policies["public_evidence"], policies["public_threshold"]
    exact: Counter[tuple[str, str]] = Counter()
    for row in sums:
        if row["evidence"] in public:
            exact[row["case"], row["evidence"]] += row["change"]
    cut = {cell: count // step * step for cell, count in exact.items()}
    different = []
    for name, index in (("by_case", 0), ("by_evidence", 1)):
        lower_bounds: Counter[str] = Counter()
        for cell, count in cut.items():
            lower_bounds[cell[index]] += count
        different += [
            f"{name} shows {document[name].get(key, 0)} of {key}, the ledger gives {count} or more"
            for key, count in lower_bounds.items()
            if document[name].get(key, 0) < count
        ]
    possible = {(case, evidence) for case in campaign["cases"] for evidence in public}
    upper_bound = exact.total() + step * (len(exact.keys() | possible) + MAX_REASONS + reasons)
    if document["total"] > upper_bound:
        different.append(f"total is {document['total']}, the ledger gives {upper_bound} at most")
    if not document["total"] == document["public_total"] == sum(document["by_evidence"].values()):
        different.append("total, public_total and the sum of by_evidence are not the same")
    return different


def _unequal_sums(document: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} adds up to {sum(document[name].values())}, not to {document['public_total']}"
        for name in (*MAPS, *(("by_section",) if document.get("by_section") else ()))
        if sum(document[name].values()) != document["public_total"]
    ]


def _not_zero(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= MAX_PRINTED_CHARS else text[:MAX_PRINTED_CHARS] + "..."

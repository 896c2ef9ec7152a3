"""Disclosure control: which part of the exact totals is shown, so that no change of a number identifies a person.

Source: "What the public and coordinators may see" in the design of counting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from shared.events.marathon import Correction, Policies, TotalsChanged

OTHER: Final = "other"
NO_SECTION: Final = "none"
"""The cell of actions that belong to no section of the campaign."""
MIN_CELLS_IN_OTHER: Final = 2
"""`other` combines at least this many cells: a single one would be the difference of two published numbers."""
FIGURES: Final = "figures"
RECORD: Final = "record"
WITHDRAWN: Final = "withdrawn"
DECREASED: Final = "fallen"

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ExactTotals:
    """The exact totals of a campaign.

    All maps except `by_evidence` contain public evidence only, and each sums to its total. `withdrawn_public` is the
    part of `withdrawn` with public evidence.
    """

    by_evidence: Counts = field(default_factory=dict)
    by_case: Counts = field(default_factory=dict)
    by_country: Counts = field(default_factory=dict)
    by_kind: Counts = field(default_factory=dict)
    by_channel: Counts = field(default_factory=dict)
    by_language: Counts = field(default_factory=dict)
    by_section: Counts = field(default_factory=dict)
    withdrawn: int = 0
    by_case_and_evidence: Mapping[tuple[str, str], int] = field(default_factory=dict)
    withdrawn_public: int = 0


class MapMemory(msgspec.Struct, frozen=True):
    """The last disclosure of one map: `anchors` are the values by cell, `visible` the cells outside `other`.

    An anchor is retained while its cell is in `other`, so that the cell returns with its previous value unless its
    exact value has moved far enough.
    """

    anchors: dict[str, int] = {}
    visible: tuple[str, ...] = ()


DisclosureMemory = dict[str, MapMemory]
"""The last disclosure, by the name of the map."""


@dataclass(frozen=True, slots=True)
class DisclosedTotals:
    """The totals to show: `by_evidence` sums to `total`, every other map to `public_total`.

    `memory` is passed to the next call. `by_section` is empty if the campaign has no sections.
    """

    total: int
    public_total: int
    by_evidence: dict[str, int]
    by_case: dict[str, int]
    by_country: dict[str, int]
    by_kind: dict[str, int]
    by_channel: dict[str, int]
    by_language: dict[str, int]
    withdrawn: int
    memory: DisclosureMemory
    by_section: dict[str, int] = field(default_factory=dict)


def disclose(
    exact: ExactTotals,
    policies: Policies,
    cases: Sequence[str],
    memory: DisclosureMemory,
    *,
    corrected: int = 0,
    sections: bool = False,
) -> DisclosedTotals:
    """Return what may be shown of `exact` in a campaign with `cases`, given the previous disclosures.

    `corrected` is how much the shown corrections lower the total (not negative). `sections` says whether the campaign
    has sections; without them there is no such map.
    """
    total, step = sum(exact.by_evidence.values()), 1
    public, threshold = public_total(exact.by_evidence, policies), policies.public_threshold
    protected = {"country": exact.by_country, "language": exact.by_language}
    if sections:
        protected["section"] = exact.by_section
    own_memory: DisclosureMemory = {}
    if policies.safety_mode:
        exact, own_memory = _totals_in_safety_mode(exact, policies, memory, corrected)
        total = public = sum(exact.by_evidence.values())
        protected |= {"kind": exact.by_kind, "channel": exact.by_channel}
        step = threshold
    shown = {
        name: _apply_threshold(counts, public, threshold, step, memory.get(name)) for name, counts in protected.items()
    }
    maps = {"kind": _nonzero_counts(exact.by_kind), "channel": _nonzero_counts(exact.by_channel)}
    maps |= {name: counts for name, (counts, _) in shown.items()}
    return DisclosedTotals(
        total=total,
        public_total=public,
        by_evidence=_nonzero_counts(exact.by_evidence, policies.public_evidence),
        by_case=_nonzero_counts(exact.by_case, cases),
        withdrawn=exact.withdrawn,
        memory=own_memory | {name: map_memory for name, (_, map_memory) in shown.items()},
        **{f"by_{name}": counts for name, counts in maps.items()},
    )


def public_total(by_evidence: Counts, policies: Policies) -> int:
    """Return the exact total of public evidence."""
    return sum(by_evidence.get(evidence, 0) for evidence in policies.public_evidence)


def disclosed_total(exact: ExactTotals, policies: Policies, memory: DisclosureMemory) -> int:
    """Return the public total under `policies`, given the previous disclosures and a record that explains it.

    `exact` covers the evidence that is public under `policies`.
    """
    if policies.safety_mode:
        return sum(_exact_figures(exact, policies, memory).values())
    return public_total(exact.by_evidence, policies)


def truncate_to_step(value: int, step: int) -> int:
    """Return `value` truncated to a multiple of `step`, towards zero."""
    return (abs(value) // step * step) * (1 if value >= 0 else -1)


def _totals_in_safety_mode(
    exact: ExactTotals, policies: Policies, memory: DisclosureMemory, corrected: int
) -> tuple[ExactTotals, DisclosureMemory]:
    """Return the totals in safety mode, in which every figure moves in steps of the threshold, and their memory.

    Cases and evidence share their figures, so that both sum to the total.
    """
    figures, record = _figures(exact, policies, memory, corrected)
    by_case: defaultdict[str, int] = defaultdict(int)
    by_evidence: defaultdict[str, int] = defaultdict(int)
    for name, value in figures.items():
        case, evidence = name.split("/")
        by_case[case] += value
        by_evidence[evidence] += value
    totals = replace(exact, by_case=by_case, by_evidence=by_evidence, withdrawn=record.get(WITHDRAWN, 0))
    return totals, {FIGURES: MapMemory(figures), RECORD: MapMemory(record)}


def _figures(
    exact: ExactTotals, policies: Policies, memory: DisclosureMemory, corrected: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the figures of each case and class of evidence, named `case/evidence`, and the record of decreases.

    A figure takes a new value once its exact value has moved by the threshold, and decreases no further than the shown
    record explains: the sum of all decreases never exceeds what was shown as withdrawn or corrected. The record at the
    time when a campaign enters safety mode explains earlier decreases.
    """
    step = policies.public_threshold
    before = memory.get(FIGURES, MapMemory()).anchors
    record = memory.get(RECORD, MapMemory()).anchors
    withdrawn = _move_anchors({WITHDRAWN: record.get(WITHDRAWN, 0)}, {WITHDRAWN: exact.withdrawn_public}, step, step)
    decreased = record.get(DECREASED, withdrawn.get(WITHDRAWN, 0) + corrected)
    figures = _exact_figures(exact, policies, memory)
    for name, value in before.items():
        explained = max(0, truncate_to_step(withdrawn.get(WITHDRAWN, 0) + corrected - decreased, step))
        decrease = min(value - figures.get(name, 0), explained)
        if value > figures.get(name, 0):
            figures[name] = value - decrease
            decreased += decrease
    return figures, {**withdrawn, DECREASED: decreased}


def _exact_figures(exact: ExactTotals, policies: Policies, memory: DisclosureMemory) -> dict[str, int]:
    """Return the figures as their exact values alone move them, regardless of the record."""
    exact_counts = {
        f"{case}/{evidence}": count
        for (case, evidence), count in exact.by_case_and_evidence.items()
        if evidence in policies.public_evidence
    }
    return _move_anchors(
        memory.get(FIGURES, MapMemory()).anchors, exact_counts, policies.public_threshold, policies.public_threshold
    )


def _nonzero_counts(counts: Counts, always: Collection[str] = ()) -> dict[str, int]:
    """Return the nonzero counts and those named in `always`, in a fixed order."""
    names = {name for name, count in counts.items() if count} | set(always)
    return {name: counts.get(name, 0) for name in sorted(names)}


def _apply_threshold(
    exact_counts: Counts, total: int, threshold: int, step: int, before: MapMemory | None
) -> tuple[dict[str, int], MapMemory]:
    """Return the map to show, which sums to `total`, and its memory.

    A cell takes a new value (truncated to `step`) once its exact value has moved by `threshold`; `other` is the rest
    and covers at least two cells and the threshold, if there are enough. Cells leave `other` only when some cell moves:
    otherwise the first action from a new country would show.
    """
    if threshold <= 1:
        return {**_nonzero_counts(exact_counts), OTHER: 0}, MapMemory()
    before = before or MapMemory()
    anchors = _move_anchors(before.anchors, exact_counts, threshold, step)
    large = [cell for cell, value in anchors.items() if value >= threshold]
    if anchors == before.anchors:
        large = [cell for cell in large if cell in before.visible]
    visible = _visible_cells(large, anchors, exact_counts, total, threshold)
    shown = {cell: anchors[cell] for cell in visible}
    return {**shown, OTHER: total - sum(shown.values())}, MapMemory(anchors, visible)


def _move_anchors(anchors: Counts, exact_counts: Counts, threshold: int, step: int) -> dict[str, int]:
    moved = {}
    for cell in sorted(anchors.keys() | exact_counts.keys()):
        value, now = anchors.get(cell, 0), exact_counts.get(cell, 0)
        if abs(now - value) >= threshold:
            value = truncate_to_step(now, step)
        if value:
            moved[cell] = value
    return moved


def _visible_cells(
    large: list[str], anchors: Counts, exact_counts: Counts, total: int, threshold: int
) -> tuple[str, ...]:
    visible = sorted(large, key=lambda cell: (-anchors[cell], cell))
    rest = total - sum(anchors[cell] for cell in visible)
    hidden = sum(1 for cell, count in exact_counts.items() if count and cell not in large)
    while visible and (hidden < MIN_CELLS_IN_OTHER or rest < threshold):
        rest += anchors[visible.pop()]
        hidden += 1
    return tuple(sorted(visible))


def memory_of(document: TotalsChanged, before: DisclosureMemory) -> DisclosureMemory:
    """Return the memory that a published `document` leaves, given the memory `before` it.

    If it was published in safety mode, its whole record counts as the explanation of earlier decreases.
    """
    memory = dict(before)
    for name in {*before, "country", "language", "section"} - {FIGURES, RECORD}:
        cells = {cell: value for cell, value in getattr(document, f"by_{name}").items() if cell != OTHER}
        anchors = memory[name].anchors if name in memory else {}
        memory[name] = MapMemory({**anchors, **cells}, tuple(sorted(cells)))
    memory[FIGURES] = MapMemory(_figures_of_document(document))
    memory[RECORD] = MapMemory(
        {WITHDRAWN: document.withdrawn, DECREASED: document.withdrawn + total_decrease(document.corrections)}
    )
    return memory


def total_decrease(corrections: Iterable[Correction]) -> int:
    """Return how much `corrections` lower a total; those that raise it do not offset this."""
    return -sum(min(0, correction.change) for correction in corrections)


def _figures_of_document(document: TotalsChanged) -> dict[str, int]:
    """Return figures by case and evidence that add up to the sums of `document`, which does not list them singly."""
    figures: dict[str, int] = {}
    case_counts = {case: shown for case, shown in document.by_case.items() if case != OTHER}
    for evidence, shown in document.by_evidence.items():
        left = shown
        for case, remaining in case_counts.items():
            if part := min(left, remaining):
                figures[f"{case}/{evidence}"] = part
                left -= part
                case_counts[case] -= part
    return figures

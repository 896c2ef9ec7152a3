"""What of the exact totals is shown, so that nobody can be told from a number that moved.

Source: "What the public and coordinators may see" in the design of counting.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from shared.events.marathon import Correction, Policies, TotalsChanged

OTHER: Final = "other"
NO_SECTION: Final = "none"
"""The cell of actions that no section of the campaign stands for."""
OTHER_HOLDS: Final = 2
"""So many cells at least stand behind `other`: one alone would be the difference of two published numbers."""
FIGURES: Final = "figures"
RECORD: Final = "record"
WITHDRAWN: Final = "withdrawn"
FALLEN: Final = "fallen"

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Exact:
    """The true totals of a campaign.

    The maps but `by_evidence` hold public evidence only, and each sums to its total. `withdrawn_public` is what of
    `withdrawn` had public evidence.
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


class Shown(msgspec.Struct, frozen=True):
    """What was last shown of one map: `anchors` are the values by cell, `visible` the cells that stood by themselves.

    An anchor outlives its cell's time in `other`, so that the cell comes back with the value it left with unless its
    true value has moved far enough.
    """

    anchors: dict[str, int] = {}
    visible: tuple[str, ...] = ()


Memory = dict[str, Shown]
"""What was last shown, by the name of the map."""


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What is shown: `by_evidence` sums to `total`, every other map to `public_total`.

    `memory` goes into the next call. `by_section` is empty where the campaign has no sections.
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
    memory: Memory
    by_section: dict[str, int] = field(default_factory=dict)


def disclose(
    exact: Exact,
    policies: Policies,
    cases: Sequence[str],
    memory: Memory,
    *,
    corrected: int = 0,
    sections: bool = False,
) -> Disclosed:
    """What may be shown of `exact` in a campaign of `cases`, given what was shown before.

    `corrected` is by how much the corrections that are shown lower the total (not negative). `sections` says whether
    the campaign has any; without, there is no map of them.
    """
    if policies.safety_mode:
        return _in_steps(exact, policies, cases, memory, corrected=corrected, sections=sections)
    public, threshold = public_total(exact.by_evidence, policies), policies.public_threshold
    by_country, country = _guarded(exact.by_country, public, threshold, 1, memory.get("country"))
    by_language, language = _guarded(exact.by_language, public, threshold, 1, memory.get("language"))
    by_section, section = _guarded(exact.by_section, public, threshold, 1, memory.get("section"))
    return Disclosed(
        total=sum(exact.by_evidence.values()),
        public_total=public,
        by_evidence=_listed(exact.by_evidence, policies.public_evidence),
        by_case=_listed(exact.by_case, cases),
        by_country=by_country,
        by_kind=_listed(exact.by_kind),
        by_channel=_listed(exact.by_channel),
        by_language=by_language,
        withdrawn=exact.withdrawn,
        memory={"country": country, "language": language, **({"section": section} if sections else {})},
        by_section=by_section if sections else {},
    )


def public_total(by_evidence: Counts, policies: Policies) -> int:
    """The exact total of public evidence."""
    return sum(by_evidence.get(evidence, 0) for evidence in policies.public_evidence)


def total_under(exact: Exact, policies: Policies, memory: Memory) -> int:
    """The public total that `policies` show of `exact`, given what was shown before and a record that explains it.

    `exact` is of the evidence that is public under `policies`.
    """
    if policies.safety_mode:
        return sum(_true_figures(exact, policies, memory).values())
    return public_total(exact.by_evidence, policies)


def in_steps(value: int, step: int) -> int:
    """`value` cut to a multiple of `step`, towards zero."""
    return (abs(value) // step * step) * (1 if value >= 0 else -1)


def _in_steps(
    exact: Exact, policies: Policies, cases: Sequence[str], memory: Memory, *, corrected: int, sections: bool
) -> Disclosed:
    """Safety mode: every figure moves in steps of the threshold, and no map shows a cell that could stand for a
    person.

    Cases and evidence share their figures, so that the total is the sum of both.
    """
    step = policies.public_threshold
    figures, record = _figures(exact, policies, memory, corrected)
    by_case = dict.fromkeys(sorted(cases), 0)
    by_evidence: dict[str, int] = dict.fromkeys(sorted(policies.public_evidence), 0)
    for name, value in figures.items():
        case, evidence = name.split("/")
        by_case[case] = by_case.get(case, 0) + value
        by_evidence[evidence] = by_evidence.get(evidence, 0) + value
    total = sum(figures.values())
    maps = {
        "country": exact.by_country,
        "kind": exact.by_kind,
        "channel": exact.by_channel,
        "language": exact.by_language,
        **({"section": exact.by_section} if sections else {}),
    }
    guarded = {name: _guarded(counts, total, step, step, memory.get(name)) for name, counts in maps.items()}
    shown = {name: counts for name, (counts, _) in guarded.items()}
    return Disclosed(
        total=total,
        public_total=total,
        by_evidence=by_evidence,
        by_case=by_case,
        by_country=shown["country"],
        by_kind=shown["kind"],
        by_channel=shown["channel"],
        by_language=shown["language"],
        withdrawn=record.get(WITHDRAWN, 0),
        memory={
            FIGURES: Shown(figures),
            RECORD: Shown(record),
            **{name: remembered for name, (_, remembered) in guarded.items()},
        },
        by_section=shown.get("section", {}),
    )


def _figures(exact: Exact, policies: Policies, memory: Memory, corrected: int) -> tuple[dict[str, int], dict[str, int]]:
    """What is shown of each case and class of evidence, named `case/evidence`, and of the record of decreases.

    A figure takes a new value once its true value has moved by the threshold, and goes down no further than the shown
    record explains: all that ever went down is at most what was shown as withdrawn or corrected. What the record holds
    when a campaign begins with safety mode explains what went down before.
    """
    step = policies.public_threshold
    before = memory.get(FIGURES, Shown()).anchors
    record = memory.get(RECORD, Shown()).anchors
    withdrawn = _moved({WITHDRAWN: record.get(WITHDRAWN, 0)}, {WITHDRAWN: exact.withdrawn_public}, step, step)
    fallen = record.get(FALLEN, withdrawn.get(WITHDRAWN, 0) + corrected)
    figures = _true_figures(exact, policies, memory)
    for name, value in before.items():
        explained = max(0, in_steps(withdrawn.get(WITHDRAWN, 0) + corrected - fallen, step))
        fall = min(value - figures.get(name, 0), explained)
        if value > figures.get(name, 0):
            figures[name] = value - fall
            fallen += fall
    return figures, {**withdrawn, FALLEN: fallen}


def _true_figures(exact: Exact, policies: Policies, memory: Memory) -> dict[str, int]:
    """The figures as far as their true values have moved them, whatever the record says."""
    true = {
        f"{case}/{evidence}": count
        for (case, evidence), count in exact.by_case_and_evidence.items()
        if evidence in policies.public_evidence
    }
    return _moved(memory.get(FIGURES, Shown()).anchors, true, policies.public_threshold, policies.public_threshold)


def _listed(counts: Counts, always: Collection[str] = ()) -> dict[str, int]:
    """Exact counts in a fixed order: what is not zero, and `always`."""
    names = {name for name, count in counts.items() if count} | set(always)
    return {name: counts.get(name, 0) for name in sorted(names)}


def _guarded(true: Counts, total: int, threshold: int, step: int, before: Shown | None) -> tuple[dict[str, int], Shown]:
    """The map to show, which sums to `total`, and what to remember of it.

    A cell takes a new value (cut to `step`) once its true value has moved by `threshold`; `other` is the rest and
    holds two cells and the threshold, if there are as many. Cells leave `other` only together with a move of some cell:
    if they left whenever they could, the first action from a new country would show.
    """
    if threshold <= 1:
        return {**_listed(true), OTHER: 0}, Shown()
    before = before or Shown()
    anchors = _moved(before.anchors, true, threshold, step)
    large = [cell for cell, value in anchors.items() if value >= threshold]
    if anchors == before.anchors:
        large = [cell for cell in large if cell in before.visible]
    visible = _without_the_smallest(large, anchors, true, total, threshold)
    shown = {cell: anchors[cell] for cell in visible}
    return {**shown, OTHER: total - sum(shown.values())}, Shown(anchors, visible)


def _moved(anchors: Counts, true: Counts, threshold: int, step: int) -> dict[str, int]:
    moved = {}
    for cell in sorted(anchors.keys() | true.keys()):
        value, now = anchors.get(cell, 0), true.get(cell, 0)
        if abs(now - value) >= threshold:
            value = in_steps(now, step)
        if value:
            moved[cell] = value
    return moved


def _without_the_smallest(
    large: list[str], anchors: Counts, true: Counts, total: int, threshold: int
) -> tuple[str, ...]:
    visible = sorted(large, key=lambda cell: (-anchors[cell], cell))
    rest = total - sum(anchors[cell] for cell in visible)
    held = sum(1 for cell, count in true.items() if count and cell not in large)
    while visible and (held < OTHER_HOLDS or rest < threshold):
        rest += anchors[visible.pop()]
        held += 1
    return tuple(sorted(visible))


def shown_in(document: TotalsChanged, before: Memory) -> Memory:
    """What to remember of a published `document`, given what was remembered of an earlier one.

    Where it was of safety mode, all of its record counts as used up by what went down before.
    """
    memory = dict(before)
    for name in {*before, "country", "language", "section"} - {FIGURES, RECORD}:
        cells = {cell: value for cell, value in getattr(document, f"by_{name}").items() if cell != OTHER}
        anchors = memory[name].anchors if name in memory else {}
        memory[name] = Shown({**anchors, **cells}, tuple(sorted(cells)))
    memory[FIGURES] = Shown(_figures_in(document))
    memory[RECORD] = Shown(
        {WITHDRAWN: document.withdrawn, FALLEN: document.withdrawn + lowered_by(document.corrections)}
    )
    return memory


def lowered_by(corrections: Iterable[Correction]) -> int:
    """By how much `corrections` lower a total; those that raise it do not make up for it."""
    return -sum(min(0, correction.change) for correction in corrections)


def _figures_in(document: TotalsChanged) -> dict[str, int]:
    """Figures by case and evidence that give the sums of `document`, which does not tell them one by one."""
    figures: dict[str, int] = {}
    of_cases = {case: shown for case, shown in document.by_case.items() if case != OTHER}
    for evidence, shown in document.by_evidence.items():
        left = shown
        for case, open_ in of_cases.items():
            if part := min(left, open_):
                figures[f"{case}/{evidence}"] = part
                left -= part
                of_cases[case] -= part
    return figures

"""What of the exact totals is shown, so that nobody can be told from a number that moved.

Source: "What the public and coordinators may see" in the design of counting.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from shared.events.marathon import Policies, TotalsChanged

OTHER: Final = "other"
NO_SECTION: Final = "none"
"""The cell of actions that no section of the campaign stands for."""
OTHER_HOLDS: Final = 2
"""So many cells at least stand behind `other`: one alone would be the difference of two published numbers."""

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Exact:
    """The true totals of a campaign.

    The maps but `by_evidence` hold public evidence only, and each sums to its total.
    """

    by_evidence: Counts = field(default_factory=dict)
    by_case: Counts = field(default_factory=dict)
    by_country: Counts = field(default_factory=dict)
    by_kind: Counts = field(default_factory=dict)
    by_channel: Counts = field(default_factory=dict)
    by_language: Counts = field(default_factory=dict)
    by_section: Counts = field(default_factory=dict)
    withdrawn: int = 0


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
    exact: Exact, policies: Policies, cases: Sequence[str], memory: Memory, *, sections: bool = False
) -> Disclosed:
    """What may be shown of `exact` in a campaign of `cases`, given what was shown before.

    `sections` says whether the campaign has any; without, there is no map of them.
    """
    if policies.safety_mode:
        return _in_steps(exact, policies, cases, memory, sections=sections)
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
    """The total that the public sees of exact counts."""
    step = policies.public_threshold if policies.safety_mode else 1
    return sum(in_steps(by_evidence.get(evidence, 0), step) for evidence in policies.public_evidence)


def in_steps(value: int, step: int) -> int:
    """`value` cut to a multiple of `step`, towards zero."""
    return (abs(value) // step * step) * (1 if value >= 0 else -1)


def _in_steps(exact: Exact, policies: Policies, cases: Sequence[str], memory: Memory, *, sections: bool) -> Disclosed:
    """Safety mode: every figure moves in steps of the threshold, and no map shows a cell that could stand for a
    person.
    """
    step = policies.public_threshold
    by_evidence: dict[str, int] = {
        name: in_steps(exact.by_evidence.get(name, 0), step) for name in policies.public_evidence
    }
    total = public_total(exact.by_evidence, policies)
    maps = {
        "case": exact.by_case,
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
        by_case={cases[0]: total} if len(cases) == 1 else shown["case"],
        by_country=shown["country"],
        by_kind=shown["kind"],
        by_channel=shown["channel"],
        by_language=shown["language"],
        withdrawn=in_steps(exact.withdrawn, step),
        memory={name: remembered for name, (_, remembered) in guarded.items()},
        by_section=shown.get("section", {}),
    )


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
    """What to remember of a published `document`, given what was remembered of an earlier one."""
    memory = dict(before)
    for name in before.keys() | {"country", "language", "section"}:
        cells = {cell: value for cell, value in getattr(document, f"by_{name}").items() if cell != OTHER}
        anchors = memory[name].anchors if name in memory else {}
        memory[name] = Shown({**anchors, **cells}, tuple(sorted(cells)))
    return memory

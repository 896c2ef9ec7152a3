"""What is shown of the totals: sums hold, and no shown number gives a single person away."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.marathon.domain.disclosure import (
    OTHER,
    DisclosedTotals,
    DisclosureMemory,
    ExactTotals,
    disclose,
    disclosed_total,
    memory_of,
    public_total,
    total_decrease,
    truncate_to_step,
)
from services.marathon.domain.document import RecordedCorrection, Sums, compose, public_record
from shared.events.marathon import Policies
from tests.support.page_samples import campaign

CASES = ("ana", "bo")
COUNTRIES = ("AD", "BE", "CH", "FR", "GB", "LI")
EVIDENCE = ("confirmed", "recorded", "self_reported", "offline")
SAFE = Policies(
    confirmation="required", public_evidence=("confirmed", "offline"), public_threshold=10, safety_mode=True
)

CAMPAIGN = campaign(slug="safe", policies=SAFE, cases=CASES)

Action = tuple[str, str, str, str]
"""Evidence, case, country, language."""


def exact_of(actions: dict[Action, int], public: tuple[str, ...], withdrawn: int = 0) -> ExactTotals:
    maps: list[dict[str, int]] = [{}, {}, {}]
    by_evidence: dict[str, int] = {}
    for (evidence, *dimensions), count in actions.items():
        by_evidence[evidence] = by_evidence.get(evidence, 0) + count
        if evidence in public:
            for counts, cell in zip(maps, dimensions, strict=True):
                counts[cell] = counts.get(cell, 0) + count
    total = sum(count for (evidence, *_), count in actions.items() if evidence in public)
    kinds = {"signature": total} if total else {}
    cells: dict[tuple[str, str], int] = {}
    for (evidence, case, *_), count in actions.items():
        if evidence in public:
            cells[case, evidence] = cells.get((case, evidence), 0) + count
    return ExactTotals(
        by_evidence,
        maps[0],
        maps[1],
        kinds,
        {"web": total} if total else {},
        maps[2],
        withdrawn=withdrawn + 3,
        by_case_and_evidence=cells,
        withdrawn_public=withdrawn,
    )


def countries(**counts: int) -> ExactTotals:
    total = sum(counts.values())
    return ExactTotals({"recorded": total}, {"ana": total}, counts, {"signature": total}, {"web": total}, {"fr": total})


def show(
    exact: ExactTotals, memory: DisclosureMemory | None = None, policies: Policies | None = None
) -> DisclosedTotals:
    return disclose(exact, policies or Policies(), CASES, memory or {})


def test_a_threshold_of_one_shows_everything_and_nothing_in_other() -> None:
    shown = show(countries(FR=7, BE=1), policies=Policies(public_threshold=1))
    assert shown.by_country == {"BE": 1, "FR": 7, OTHER: 0}


def test_cells_below_the_threshold_are_in_other() -> None:
    assert show(countries(FR=30, GB=25, BE=6, CH=5)).by_country == {"FR": 30, "GB": 25, OTHER: 11}


def test_other_takes_in_the_smallest_cells_until_it_holds_two_and_the_threshold() -> None:
    assert show(countries(FR=30, GB=25, BE=6)).by_country == {"FR": 30, OTHER: 31}
    assert show(countries(FR=30, GB=25, LI=12, BE=4, CH=3)).by_country == {"FR": 30, "GB": 25, OTHER: 19}
    assert show(countries(FR=30)).by_country == {OTHER: 30}


def test_a_single_signing_in_a_small_country_does_not_move_its_cell() -> None:
    before = show(countries(FR=30, GB=25, AD=14, BE=6, CH=5))
    after = show(countries(FR=30, GB=25, AD=15, BE=6, CH=5), before.memory)
    assert before.by_country["AD"] == after.by_country["AD"] == 14
    assert after.by_country[OTHER] == before.by_country[OTHER] + 1


def test_the_first_action_of_a_new_country_brings_no_cell_out_of_other() -> None:
    before = show(countries(FR=30, GB=25, BE=20))
    assert before.by_country == {"FR": 30, OTHER: 45}
    after = show(countries(FR=30, GB=25, BE=20, AD=1), before.memory)
    assert after.by_country == {"FR": 30, OTHER: 46}


def test_a_cell_comes_back_from_other_with_the_value_it_left_with() -> None:
    before = show(countries(FR=60, GB=40, BE=20, AD=6, CH=5))
    hidden = show(countries(FR=60, GB=40, BE=20, AD=1), before.memory)
    assert "BE" not in hidden.by_country
    back = show(countries(FR=60, GB=50, BE=22, AD=6, CH=5), hidden.memory)
    assert back.by_country["BE"] == 20


def test_only_public_evidence_is_in_the_public_total() -> None:
    shown = show(
        exact_of({("recorded", "ana", "FR", "fr"): 40, ("self_reported", "ana", "FR", "fr"): 9}, ("recorded",))
    )
    assert (shown.total, shown.public_total) == (49, 40)
    assert sum(shown.by_evidence.values()) == 49


def test_every_case_of_the_campaign_is_listed_from_the_start() -> None:
    assert show(ExactTotals()).by_case == {"ana": 0, "bo": 0}


def test_safety_mode_moves_everything_in_steps_and_shows_no_recorded() -> None:
    actions = {
        ("confirmed", "ana", "FR", "fr"): 27,
        ("confirmed", "bo", "BE", "fr"): 18,
        ("recorded", "bo", "BE", "fr"): 99,
    }
    shown = disclose(exact_of(actions, SAFE.public_evidence), SAFE, CASES, {})
    assert shown.total == shown.public_total == 30
    assert shown.by_evidence == {"confirmed": 30, "offline": 0}
    assert shown.by_case == {"ana": 20, "bo": 10}
    assert shown.withdrawn == 0


counts = st.dictionaries(
    st.tuples(
        st.sampled_from(EVIDENCE),
        st.sampled_from(CASES),
        st.sampled_from(COUNTRIES),
        st.sampled_from(("en", "fr", "ru")),
    ),
    st.integers(0, 60),
    max_size=12,
)
policies = st.one_of(
    st.builds(Policies, public_threshold=st.sampled_from((1, 2, 5, 10))),
    st.just(Policies(public_evidence=("confirmed",))),
    st.just(SAFE),
)


@given(st.lists(counts, min_size=1, max_size=6), policies)
def test_whatever_happened_the_sums_hold(history: list[dict[Action, int]], chosen: Policies) -> None:
    memory: DisclosureMemory = {}
    for actions in history:
        exact = exact_of(actions, chosen.public_evidence)
        shown = disclose(exact, chosen, CASES, memory)
        assert sum(shown.by_evidence.values()) == shown.total
        for public in (shown.by_case, shown.by_country, shown.by_kind, shown.by_channel, shown.by_language):
            assert sum(public.values()) == shown.public_total
            assert all(value >= 0 for value in public.values())
        if not chosen.safety_mode:
            assert shown.public_total == public_total(exact.by_evidence, chosen) <= sum(exact.by_evidence.values())
        memory = msgspec.json.decode(msgspec.json.encode(shown.memory), type=DisclosureMemory)


@given(st.lists(counts, min_size=2, max_size=6), policies)
def test_a_shown_cell_changes_only_when_its_true_value_has_moved_by_the_threshold(
    history: list[dict[Action, int]], chosen: Policies
) -> None:
    memory: DisclosureMemory = {}
    last_shown: dict[str, int] = {}
    moved: dict[str, int] = {}
    for actions in history:
        exact = exact_of(actions, chosen.public_evidence)
        shown = disclose(exact, chosen, CASES, memory)
        memory = shown.memory
        for country, before in last_shown.items():
            distance = abs(exact.by_country.get(country, 0) - before)
            moved[country] = max(moved[country], distance)
        for country, value in shown.by_country.items():
            if country == OTHER or last_shown.get(country) == value:
                continue
            assert country not in last_shown or moved[country] >= chosen.public_threshold
            last_shown[country], moved[country] = value, 0


@given(st.lists(counts, min_size=1, max_size=6), policies)
def test_other_holds_two_cells_and_the_threshold_or_everything(
    history: list[dict[Action, int]], chosen: Policies
) -> None:
    memory: DisclosureMemory = {}
    for actions in history:
        exact = exact_of(actions, chosen.public_evidence)
        shown = disclose(exact, chosen, CASES, memory)
        memory = shown.memory
        if chosen.public_threshold == 1:
            assert shown.by_country[OTHER] == 0
            continue
        hidden = [country for country, count in exact.by_country.items() if count and country not in shown.by_country]
        everything = set(shown.by_country) == {OTHER}
        assert everything or (len(hidden) >= 2 and shown.by_country[OTHER] >= chosen.public_threshold)


@given(st.lists(counts, min_size=1, max_size=6))
def test_in_safety_mode_every_figure_is_a_multiple_of_the_step(history: list[dict[Action, int]]) -> None:
    memory: DisclosureMemory = {}
    for actions in history:
        shown = disclose(exact_of(actions, SAFE.public_evidence), SAFE, CASES, memory)
        memory = shown.memory
        figures = [shown.total, shown.public_total, shown.withdrawn, *shown.by_evidence.values()]
        for public in (shown.by_case, shown.by_country, shown.by_kind, shown.by_channel, shown.by_language):
            figures += public.values()
        assert all(figure % SAFE.public_threshold == 0 for figure in figures)


def test_in_safety_mode_every_case_shows_a_figure_of_its_own() -> None:
    actions = {("confirmed", "ana", "FR", "fr"): 507, ("confirmed", "bo", "BE", "fr"): 12}
    shown = disclose(exact_of(actions, SAFE.public_evidence), SAFE, CASES, {})
    assert shown.by_case == {"ana": 500, "bo": 10}


def confirmed(count: int, withdrawn: int = 0) -> ExactTotals:
    return exact_of({("confirmed", "ana", "FR", "fr"): count}, SAFE.public_evidence, withdrawn)


def test_in_safety_mode_one_person_who_withdraws_and_signs_again_moves_nothing() -> None:
    shown = disclose(confirmed(30), SAFE, CASES, {})
    for withdrawn, count in ((1, 29), (1, 30), (2, 29), (2, 30)):
        shown = disclose(confirmed(count, withdrawn), SAFE, CASES, shown.memory)
        assert (shown.total, shown.withdrawn) == (30, 0)


def test_in_safety_mode_a_total_falls_only_with_the_record_that_says_why() -> None:
    shown = disclose(confirmed(30), SAFE, CASES, {})
    shown = disclose(confirmed(20, withdrawn=5), SAFE, CASES, shown.memory, corrected=0)
    assert (shown.total, shown.withdrawn) == (30, 0)
    by_withdrawal = disclose(confirmed(15, withdrawn=10), SAFE, CASES, shown.memory, corrected=0)
    assert (by_withdrawal.total, by_withdrawal.withdrawn) == (20, 10)
    by_correction = disclose(confirmed(15, withdrawn=5), SAFE, CASES, shown.memory, corrected=10)
    assert (by_correction.total, by_correction.withdrawn) == (20, 0)


safe_events = st.lists(
    st.tuples(
        st.sampled_from(("counted", "withdrawn", "invalidated", "reinstated")),
        st.sampled_from(CASES),
        st.sampled_from(SAFE.public_evidence),
        st.integers(1, 25),
        st.integers(0, 2),
    ),
    max_size=40,
)


@given(safe_events)
def test_in_safety_mode_what_is_shown_falls_only_as_far_as_the_shown_record_and_never_by_less_than_a_step(
    events: list[tuple[str, str, str, int, int]],
) -> None:
    true: dict[Action, int] = {}
    taken_out: dict[Action, int] = {}
    corrections: list[RecordedCorrection] = []
    memory: DisclosureMemory = {}
    last: dict[str, int] = {}
    withdrawn = fallen = day = 0
    for event, case, evidence, number, days in events:
        cell, day = (evidence, case, "FR", "fr"), day + days
        available = taken_out.get(cell, 0) if event == "reinstated" else true.get(cell, 0)
        count = number if event == "counted" else min(number, available)
        sign = 1 if event in {"counted", "reinstated"} else -1
        true[cell] = true.get(cell, 0) + sign * count
        if event == "withdrawn":
            withdrawn += count
        elif event != "counted":
            taken_out[cell] = taken_out.get(cell, 0) - sign * count
            corrections.append(RecordedCorrection(event, evidence, False, sign * count, day * 1440 + 7))
        record = public_record(corrections, SAFE)
        shown = disclose(
            exact_of(true, SAFE.public_evidence, withdrawn), SAFE, CASES, memory, corrected=total_decrease(record)
        )
        memory = msgspec.json.decode(msgspec.json.encode(shown.memory), type=DisclosureMemory)
        figures = {**shown.by_case, "total": shown.total}
        moved = [figures[name] - last.get(name, 0) for name in figures]
        assert all(move % SAFE.public_threshold == 0 for move in moved)
        fallen += max(0, last.get("total", 0) - shown.total)
        assert fallen <= shown.withdrawn + total_decrease(record)
        assert sum(shown.by_case.values()) == sum(shown.by_evidence.values()) == shown.total == shown.public_total
        for each_case in CASES:
            cells = sum(count for (_, of_case, *_), count in true.items() if of_case == each_case)
            assert shown.by_case[each_case] > cells - 2 * SAFE.public_threshold
        last = figures


@given(st.lists(st.tuples(counts, st.booleans()), min_size=2, max_size=6))
def test_a_total_that_goes_down_with_a_change_of_safety_mode_has_a_line_in_the_record(
    history: list[tuple[dict[Action, int], bool]],
) -> None:
    plain = msgspec.structs.replace(SAFE, safety_mode=False)
    corrections: list[RecordedCorrection] = []
    memory: DisclosureMemory = {}
    grown: dict[Action, int] = {}
    policies, total, explained = SAFE, 0, 0
    for day, (actions, safe) in enumerate(history):
        before, policies = policies, SAFE if safe else plain
        exact = exact_of(grown, SAFE.public_evidence)
        change = disclosed_total(exact, policies, memory) - disclosed_total(exact, before, memory)
        corrections.append(RecordedCorrection("policy-changed", "", False, change, day * 1440))
        record = total_decrease(public_record(corrections, policies))
        for added in ({}, actions):
            for cell, count in added.items():
                grown[cell] = grown.get(cell, 0) + count
            shown = disclose(exact_of(grown, SAFE.public_evidence), policies, CASES, memory, corrected=record)
            assert shown.public_total >= total - (record - explained)
            memory, total, explained = shown.memory, shown.public_total, record


def test_what_went_down_before_safety_mode_explains_nothing_in_it() -> None:
    shown = disclose(confirmed(30, withdrawn=20), SAFE, CASES, {}, corrected=10)
    shown = disclose(confirmed(20, withdrawn=25), SAFE, CASES, shown.memory, corrected=15)
    assert (shown.total, shown.withdrawn) == (30, 20)


@given(st.lists(counts, min_size=1, max_size=3))
def test_a_published_document_alone_is_enough_to_go_on_with_the_same_figures(history: list[dict[Action, int]]) -> None:
    memory: DisclosureMemory = {}
    for actions in history:
        exact = exact_of(actions, SAFE.public_evidence)
        shown = disclose(exact, SAFE, CASES, memory)
        memory = shown.memory
    document = compose(CAMPAIGN, Sums(shown), version=1, as_of=0.0, now=0.0)
    figures = memory_of(document, memory)["figures"].anchors
    for case in CASES:
        assert sum(value for name, value in figures.items() if name.startswith(f"{case}/")) == shown.by_case[case]
    for evidence in SAFE.public_evidence:
        assert sum(value for name, value in figures.items() if name.endswith(evidence)) == shown.by_evidence[evidence]


@pytest.mark.parametrize(("value", "cut"), [(0, 0), (9, 0), (10, 10), (-9, 0), (-25, -20)])
def test_steps_are_cut_towards_zero(value: int, cut: int) -> None:
    assert truncate_to_step(value, 10) == cut


def test_sections_are_held_back_like_countries_and_what_none_stands_for_is_a_cell_too() -> None:
    def shown(memory: DisclosureMemory | None = None, **counts: int) -> DisclosedTotals:
        exact = ExactTotals({"recorded": sum(counts.values())}, by_section=counts)
        return disclose(exact, Policies(), CASES, memory or {}, sections=True)

    first = shown(ngo=40, none=25, small=6, tiny=5)
    assert first.by_section == {"ngo": 40, "none": 25, OTHER: 11}
    later = shown(first.memory, ngo=49, none=25, small=6, tiny=5)
    assert later.by_section == {"ngo": 40, "none": 25, OTHER: 20}
    assert sum(later.by_section.values()) == later.public_total


def test_a_campaign_without_sections_has_no_map_of_them() -> None:
    exact = ExactTotals({"recorded": 50}, by_section={"none": 50})
    for policies in (Policies(), SAFE):
        shown = disclose(exact, policies, CASES, {})
        assert (shown.by_section, "section" in shown.memory) == ({}, False)


def test_in_safety_mode_sections_move_in_steps() -> None:
    exact = ExactTotals(
        {"confirmed": 87},
        by_section={"ngo": 47, "none": 20, "small": 12, "tiny": 8},
        by_case_and_evidence={("ana", "confirmed"): 87},
    )
    shown = disclose(exact, SAFE, CASES, {}, sections=True)
    assert shown.by_section == {"ngo": 40, "none": 20, OTHER: 20}

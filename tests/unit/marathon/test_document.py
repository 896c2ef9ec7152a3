"""The totals document: freshness, the public record, the rate, and what counts as news."""

from __future__ import annotations

import msgspec
import pytest

from services.marathon.domain.disclosure import ExactTotals, disclose
from services.marathon.domain.document import (
    MinuteChange,
    RecordedCorrection,
    Sums,
    compose,
    first_document,
    has_same_figures,
    public_record,
    rate_per_minute,
)
from services.marathon.domain.freshness import EndOffsets, Freshness, has_reached, state_at
from services.marathon.domain.history import StepChange, points
from services.marathon.domain.ledger import ChainHead, SourcePartition
from shared.clock import parse_rfc3339, rfc3339
from shared.events.marathon import Correction, Policies
from tests.support.page_samples import campaign

NOON = parse_rfc3339("2026-12-01T12:00:00Z")
MINUTE = int(NOON) // 60
ONE, TWO = SourcePartition("petitions.signatures.v1", 0), SourcePartition("petitions.signatures.v1", 1)
SAFE = Policies(confirmation="required", public_evidence=("confirmed",), safety_mode=True)
CAMPAIGN = campaign(slug="w4r", policies=Policies(public_threshold=1), cases=("ana",))


def head(next_: int, accepted_until: float | None = None) -> ChainHead:
    return ChainHead(next=next_, accepted_until=None if accepted_until is None else rfc3339(accepted_until))


def test_totals_with_nothing_missing_are_true_as_of_the_reading() -> None:
    reading = EndOffsets(NOON, {ONE: 5, TWO: 0})
    assert Freshness({}).as_of(reading, {ONE: head(5, NOON - 90)}) == NOON


def test_an_incomplete_partition_is_true_as_of_its_last_counted_record() -> None:
    reading = EndOffsets(NOON, {ONE: 9, TWO: 0})
    assert Freshness({}).as_of(reading, {ONE: head(5, NOON - 90)}) == NOON - 90


def test_an_incomplete_partition_is_true_as_of_its_last_complete_reading_if_that_is_later() -> None:
    freshness = Freshness({})
    freshness.as_of(EndOffsets(NOON, {ONE: 5}), {ONE: head(5, NOON - 90)})
    assert freshness.as_of(EndOffsets(NOON + 7, {ONE: 6}), {ONE: head(5, NOON - 90)}) == NOON


def test_what_is_counted_while_the_ends_are_read_is_complete() -> None:
    freshness = Freshness({ONE: head(5)})
    assert freshness.as_of(EndOffsets(NOON, {ONE: 6}), {ONE: head(9, NOON - 1)}) == NOON
    assert freshness.truncated == {}


def test_a_log_that_ends_before_what_was_counted_is_never_complete() -> None:
    freshness = Freshness({ONE: head(7, NOON - 90)})
    assert freshness.as_of(EndOffsets(NOON, {ONE: 3}), {ONE: head(7, NOON - 90)}) == NOON - 90
    assert {str(source): str(log) for source, log in freshness.truncated.items()} == {
        "petitions.signatures.v1/0": "the log ends at 3, before the position 7"
    }


def test_a_log_that_was_cut_does_not_become_whole_by_what_is_appended_to_it() -> None:
    freshness = Freshness({})
    freshness.as_of(EndOffsets(NOON, {ONE: 7}), {ONE: head(7, NOON - 90)})
    for minutes, end in enumerate((3, 7, 9), start=1):
        reading = EndOffsets(NOON + 60 * minutes, {ONE: end})
        assert freshness.as_of(reading, {ONE: head(7, NOON - 90)}) == NOON
        assert set(freshness.truncated) == {ONE}


def test_a_log_that_was_mended_is_known_by_what_is_counted_of_it() -> None:
    freshness = Freshness({ONE: head(7, NOON - 90)})
    freshness.as_of(EndOffsets(NOON, {ONE: 3}), {ONE: head(7, NOON - 90)})
    assert freshness.as_of(EndOffsets(NOON + 60, {ONE: 8}), {ONE: head(8, NOON + 50)}) == NOON + 60
    assert freshness.truncated == {}


def test_a_partition_of_which_nothing_is_known_leaves_all_unknown() -> None:
    assert Freshness({}).as_of(EndOffsets(NOON, {ONE: 1, TWO: 0}), {}) is None


@pytest.mark.parametrize(("lag", "state"), [(0.4, "live"), (5.0, "live"), (5.1, "catching_up"), (-3.0, "live")])
def test_totals_catch_up_above_five_seconds(lag: float, state: str) -> None:
    assert state_at(NOON + lag, NOON)[0] == state
    assert state_at(NOON + lag, NOON)[1] >= 0


def test_a_campaign_may_freeze_once_every_end_is_in_the_ledger() -> None:
    assert has_reached({ONE: 5, TWO: 0}, {ONE: head(7)})
    assert not has_reached({ONE: 5, TWO: 1}, {ONE: head(7)})


def test_the_first_document_counts_nothing_and_lists_every_case() -> None:
    document = first_document(CAMPAIGN, NOON)
    assert (document.version, document.total, document.by_case, document.as_of) == (1, 0, {"ana": 0}, rfc3339(NOON))


def test_freshness_alone_is_no_news() -> None:
    sums = Sums(disclose(ExactTotals(), CAMPAIGN.policies, CAMPAIGN.cases, {}), heads={ONE: head(5, NOON)})
    before = compose(CAMPAIGN, sums, version=1, as_of=NOON, now=NOON)
    after = compose(CAMPAIGN, sums, version=2, as_of=NOON + 1, now=NOON + 1.5)
    assert has_same_figures(before, after)
    assert not has_same_figures(before, msgspec.structs.replace(after, total=1))
    assert not has_same_figures(before, msgspec.structs.replace(after, state="catching_up"))


def test_corrections_of_a_day_and_reason_are_one_line() -> None:
    record = public_record(
        [
            RecordedCorrection("invalidated", "recorded", after_freeze=False, change=-5, minute=MINUTE),
            RecordedCorrection("invalidated", "confirmed", after_freeze=False, change=-2, minute=MINUTE + 9),
            RecordedCorrection("reinstated", "confirmed", after_freeze=False, change=2, minute=MINUTE + 9),
            RecordedCorrection("invalidated", "confirmed", after_freeze=False, change=-1, minute=MINUTE + 1440),
        ],
        Policies(),
    )
    assert record == [
        Correction(at=rfc3339((MINUTE + 9) * 60), change=-7, reason="invalidated"),
        Correction(at=rfc3339((MINUTE + 9) * 60), change=2, reason="reinstated"),
        Correction(at=rfc3339((MINUTE + 1440) * 60), change=-1, reason="invalidated"),
    ]


def test_in_safety_mode_the_record_shows_steps_of_public_evidence_only() -> None:
    corrections = [
        RecordedCorrection("invalidated", "confirmed", after_freeze=False, change=-27, minute=MINUTE),
        RecordedCorrection("invalidated", "recorded", after_freeze=False, change=-99, minute=MINUTE),
        RecordedCorrection("reinstated", "confirmed", after_freeze=False, change=4, minute=MINUTE),
    ]
    assert [line.change for line in public_record(corrections, SAFE)] == [-20]


def test_what_a_change_of_policies_did_to_a_total_is_told_whole_in_safety_mode_too() -> None:
    change = RecordedCorrection("policy-changed", "", after_freeze=False, change=-5, minute=MINUTE)
    assert [line.change for line in public_record([change], SAFE)] == [-5]


def test_in_safety_mode_the_record_loses_nothing_from_day_to_day_and_names_days_alone() -> None:
    corrections = [
        RecordedCorrection("invalidated", "confirmed", after_freeze=False, change=-6, minute=MINUTE + 1440 * day)
        for day in range(4)
    ]
    lines = [(line.at, line.change) for line in public_record(corrections, SAFE)]
    assert lines == [("2026-12-02T00:00:00.000Z", -10), ("2026-12-04T00:00:00.000Z", -10)]


def test_the_rate_is_that_of_the_last_sixty_seconds() -> None:
    recent = [
        MinuteChange("recorded", MINUTE - 1, 60),
        MinuteChange("recorded", MINUTE, 30),
        MinuteChange("self_reported", MINUTE, 500),
    ]
    assert rate_per_minute(recent, Policies(), NOON) == 90
    assert rate_per_minute(recent, Policies(), NOON + 30) == 60
    assert rate_per_minute([MinuteChange("recorded", MINUTE, -4)], Policies(), NOON) == 0


def test_in_safety_mode_no_rate_is_told() -> None:
    assert rate_per_minute([MinuteChange("confirmed", MINUTE, 19)], SAFE, NOON) == 0


def test_the_course_adds_up_to_the_total_and_leaves_quiet_steps_out() -> None:
    changes = [
        StepChange(-1, "recorded", 100),
        StepChange(MINUTE, "recorded", 7),
        StepChange(MINUTE, "confirmed", 0),
        StepChange(MINUTE + 1, "recorded", -1),
        StepChange(MINUTE + 1, "confirmed", 1),
        StepChange(MINUTE + 5, "confirmed", 3),
    ]
    history = points(changes, Policies(), MINUTE)
    assert [(point.count, point.total) for point in history] == [(7, 107), (3, 110)]
    assert history[0].at == rfc3339(NOON)

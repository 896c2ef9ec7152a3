"""The fold beside the rows: dead letters, daily limits, whose data is shown."""

from __future__ import annotations

from shared.counting.fold import DeadLetter, InputRecord, LoadedState, Outcome, PartitionOffset, fold
from shared.counting.quotas import QuotaClaim
from shared.counting.transitions import FollowUp, FollowUpType, State, Submitted

ANA, BEA = b"ana", b"bea"
DAY = 24 * 60


def submission(offset: int, key: bytes = ANA, *, digest: int = 1, state: State = "r", day: int = 0) -> InputRecord:
    event = Submitted(offset, offset, 0, 1, day * DAY, state, digest)
    return InputRecord(0, offset, offset, key, event, claim=QuotaClaim((b"person", day), 2))


def follow_up(event_type: FollowUpType, offset: int, *, origin: int | None = None, key: bytes = ANA) -> InputRecord:
    first = offset if origin is None else origin
    return InputRecord(0, offset, first, key, FollowUp(offset, first, event_type))


def decision(event_type: FollowUpType, offset: int, number: int, *, digest: int = 1) -> InputRecord:
    event = FollowUp(offset, offset, event_type, digest=digest, decision=number, reason="duplicate")
    return InputRecord(0, offset, offset, ANA, event)


def unreadable(offset: int, key: bytes = ANA) -> InputRecord:
    return InputRecord(0, offset, offset, key, None, refusal="unreadable")


def fold_records(*records: InputRecord) -> tuple[LoadedState, Outcome]:
    loaded = LoadedState()
    return loaded, fold(records, loaded)


def test_what_cannot_be_read_is_refused_and_remembered() -> None:
    loaded, outcome = fold_records(unreadable(3))
    assert [(record.offset, reason) for record, reason in outcome.refused] == [(3, "unreadable")]
    assert loaded.dead_letters == outcome.dead_letters == {PartitionOffset(0, 3): DeadLetter(ANA, "unreadable")}


def test_each_origin_is_applied_once() -> None:
    loaded, _ = fold_records(
        submission(0), unreadable(1), follow_up("invalidated", 2, origin=1), follow_up("reinstated", 3)
    )
    second = fold([follow_up("invalidated", 4, origin=1)], loaded)
    assert (second.changes, loaded.rows[ANA].invalidated) == ({}, False)


def test_a_redriven_record_that_is_refused_again_stays_one_dead_letter() -> None:
    loaded, outcome = fold_records(follow_up("withdrawn", 1), follow_up("withdrawn", 5, origin=1))
    assert [record.offset for record, _ in outcome.refused] == [1, 5]
    assert loaded.dead_letters == {PartitionOffset(0, 1): DeadLetter(ANA, "no-submission")}


def test_a_dead_letter_is_superseded_by_a_later_submission_of_its_key_alone() -> None:
    loaded, _ = fold_records(unreadable(1), unreadable(2, BEA), submission(3))
    assert loaded.dead_letters[PartitionOffset(0, 1)].superseded
    assert not loaded.dead_letters[PartitionOffset(0, 2)].superseded


def test_repeats_and_withdrawals_leave_the_days_limit_as_it_is() -> None:
    loaded, outcome = fold_records(
        submission(0),
        submission(1),
        submission(2),
        follow_up("withdrawn", 3),
        submission(4, BEA),
        submission(5, b"cid"),
    )
    assert outcome.quota_counts == {(b"person", 0): 3}
    assert [loaded.rows[key].state for key in (ANA, BEA, b"cid")] == ["w", "r", "h"]


def test_each_counter_of_a_quota_has_its_own_limit() -> None:
    loaded, _ = fold_records(*(submission(number, bytes([number]), day=number // 2) for number in range(6)))
    assert [row.state for row in loaded.rows.values()] == ["r"] * 6


def test_a_decision_that_comes_after_a_later_one_does_nothing() -> None:
    loaded, outcome = fold_records(
        submission(0), decision("invalidated", 1, 4), decision("reinstated", 2, 5), decision("invalidated", 3, 4)
    )
    assert (loaded.rows[ANA].invalidated, outcome.decisions) == (False, {ANA: 5})
    changes = fold([decision("invalidated", 4, 5)], loaded).changes
    assert changes == {}


def test_a_decision_about_another_submission_does_nothing_and_stands_in_no_later_ones_way() -> None:
    loaded, outcome = fold_records(
        submission(0),
        follow_up("withdrawn", 1),
        submission(2, digest=2),
        decision("invalidated", 3, 9, digest=1),
        decision("invalidated", 4, 8, digest=2),
    )
    assert (loaded.rows[ANA].invalidated, outcome.decisions) == (True, {ANA: 8})
    assert [(change.invalidated, change.reason) for change in outcome.changes[0] if change.invalidated] == [
        (1, "duplicate")
    ]


def test_only_other_data_than_the_first_is_kept_beside_it() -> None:
    _, outcome = fold_records(submission(0), submission(1), submission(2, digest=2))
    assert [record.offset for record in outcome.first_submissions] == [0]
    assert [record.offset for record in outcome.further_submissions] == [2]


def test_projections_hear_of_every_change_with_the_submission_that_opened_the_action() -> None:
    _, outcome = fold_records(
        submission(0),
        submission(1),
        follow_up("confirmed", 2),
        decision("invalidated", 3, 1),
        decision("invalidated", 4, 2),
        decision("reinstated", 5, 3),
        follow_up("withdrawn", 6),
        follow_up("withdrawn", 7),
        submission(8, state="c"),
    )
    assert [(kind, record.offset, opened) for kind, record, opened in outcome.action_changes] == [
        ("opened", 0, 0),
        ("confirmed", 2, 0),
        ("invalidated", 3, 0),
        ("reinstated", 5, 0),
        ("withdrawn", 6, 0),
        ("opened", 8, 8),
        ("confirmed", 8, 8),
    ]


def test_what_is_held_and_released_is_told_apart_from_the_count() -> None:
    _, outcome = fold_records(
        *(submission(number, bytes([number])) for number in range(3)),
        InputRecord(0, 3, 3, bytes([2]), FollowUp(3, 3, "released", digest=1, decision=1)),
    )
    assert [(change.change, change.held) for change in outcome.changes[0]] == [(1, 0), (1, 0), (0, 1), (0, -1), (1, 0)]


def test_names_follow_the_submission_that_was_confirmed() -> None:
    _, outcome = fold_records(
        submission(0),
        submission(1, digest=2),
        follow_up("confirmed", 2),
        follow_up("confirmed", 3),
        submission(4, BEA, state="c"),
        follow_up("confirmed", 5, key=BEA),
        follow_up("withdrawn", 6),
        follow_up("confirmed", 7),
    )
    confirmed = [record.offset for kind, record, _ in outcome.action_changes if kind == "confirmed"]
    assert confirmed == [2, 3, 4, 5]

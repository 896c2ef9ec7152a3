"""The fold beside the rows: dead letters, daily limits, whose data is shown."""

from __future__ import annotations

from shared.counting.fold import DeadLetter, InputRecord, LoadedState, Outcome, PartitionOffset, Quota, fold
from shared.counting.transitions import FollowUp, FollowUpType, State, Submitted

ANA, BEA = b"ana", b"bea"
DAY = 24 * 60


def submission(offset: int, key: bytes = ANA, *, digest: int = 1, state: State = "r", minute: int = 0) -> InputRecord:
    event = Submitted(offset, offset, 0, 1, minute, state, digest)
    return InputRecord(0, offset, offset, key, event, quota=Quota(b"person", 2))


def follow_up(event_type: FollowUpType, offset: int, *, origin: int | None = None, key: bytes = ANA) -> InputRecord:
    first = offset if origin is None else origin
    return InputRecord(0, offset, first, key, FollowUp(offset, first, event_type))


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
    assert outcome.daily_counts == {(b"person", 0): 3}
    assert [loaded.rows[key].state for key in (ANA, BEA, b"cid")] == ["w", "r", "h"]


def test_the_limit_is_that_of_the_day_of_acceptance() -> None:
    loaded, _ = fold_records(*(submission(number, bytes([number]), minute=DAY // 2 * number) for number in range(6)))
    assert [row.state for row in loaded.rows.values()] == ["r"] * 6


def test_only_other_data_than_the_first_is_kept_beside_it() -> None:
    _, outcome = fold_records(submission(0), submission(1), submission(2, digest=2))
    assert [record.offset for record in outcome.first_submissions] == [0]
    assert [record.offset for record in outcome.further_submissions] == [2]


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
    assert [record.offset for record in outcome.confirmations] == [2, 3, 4, 5]

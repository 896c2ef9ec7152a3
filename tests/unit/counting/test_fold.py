"""What a fold keeps in mind beside the rows: dead letters, daily limits, whose data is shown."""

from __future__ import annotations

from shared.counting.fold import DeadLetter, InputRecord, LoadedState, Outcome, Place, Quota, fold
from shared.counting.transitions import FollowUp, FollowUpType, State, Submitted

ANA, BEA = b"ana", b"bea"
DAY = 24 * 60


def submission(offset: int, key: bytes = ANA, *, digest: int = 1, state: State = "r", minute: int = 0) -> InputRecord:
    event = Submitted(offset, offset, 0, 1, minute, state, digest)
    return InputRecord(0, offset, offset, key, event, quota=Quota(b"person", 2))


def later(what: FollowUpType, offset: int, *, origin: int | None = None, key: bytes = ANA) -> InputRecord:
    first = offset if origin is None else origin
    return InputRecord(0, offset, first, key, FollowUp(offset, first, what))


def unreadable(offset: int, key: bytes = ANA) -> InputRecord:
    return InputRecord(0, offset, offset, key, None, refusal="unreadable")


def folded(*arrived: InputRecord) -> tuple[LoadedState, Outcome]:
    held = LoadedState()
    return held, fold(arrived, held)


def test_what_cannot_be_read_is_refused_and_remembered() -> None:
    held, outcome = folded(unreadable(3))
    assert [(one.offset, reason) for one, reason in outcome.refused] == [(3, "unreadable")]
    assert held.dead == outcome.dead == {Place(0, 3): DeadLetter(ANA, "unreadable")}


def test_each_origin_is_applied_once() -> None:
    held, _ = folded(submission(0), unreadable(1), later("invalidated", 2, origin=1), later("reinstated", 3))
    again = fold([later("invalidated", 4, origin=1)], held)
    assert (again.changes, held.rows[ANA].invalidated) == ({}, False)


def test_a_redriven_record_that_is_refused_again_stays_one_dead_letter() -> None:
    held, outcome = folded(later("withdrawn", 1), later("withdrawn", 5, origin=1))
    assert [one.offset for one, _ in outcome.refused] == [1, 5]
    assert held.dead == {Place(0, 1): DeadLetter(ANA, "no-submission")}


def test_a_dead_letter_is_superseded_by_a_later_submission_of_its_key_alone() -> None:
    held, _ = folded(unreadable(1), unreadable(2, BEA), submission(3))
    assert held.dead[Place(0, 1)].superseded
    assert not held.dead[Place(0, 2)].superseded


def test_repeats_and_withdrawals_leave_the_days_limit_as_it_is() -> None:
    held, outcome = folded(
        submission(0), submission(1), submission(2), later("withdrawn", 3), submission(4, BEA), submission(5, b"cid")
    )
    assert outcome.opened == {(b"person", 0): 3}
    assert [held.rows[key].state for key in (ANA, BEA, b"cid")] == ["w", "r", "h"]


def test_the_limit_is_that_of_the_day_of_acceptance() -> None:
    held, _ = folded(*(submission(number, bytes([number]), minute=DAY // 2 * number) for number in range(6)))
    assert [row.state for row in held.rows.values()] == ["r"] * 6


def test_only_other_data_than_the_first_is_kept_beside_it() -> None:
    _, outcome = folded(submission(0), submission(1), submission(2, digest=2))
    assert [one.offset for one in outcome.first] == [0]
    assert [one.offset for one in outcome.further] == [2]


def test_names_follow_the_submission_that_was_confirmed() -> None:
    _, outcome = folded(
        submission(0),
        submission(1, digest=2),
        later("confirmed", 2),
        later("confirmed", 3),
        submission(4, BEA, state="c"),
        later("confirmed", 5, key=BEA),
        later("withdrawn", 6),
        later("confirmed", 7),
    )
    assert [one.offset for one in outcome.confirmed] == [2, 3, 4, 5]

"""The transitions of one action."""

from __future__ import annotations

import pytest

from shared.counting.transitions import (
    EVIDENCE,
    Change,
    Event,
    FollowUp,
    FollowUpType,
    Row,
    State,
    Submitted,
    transition,
)
from shared.errors import PermanentError

FRANCE, PERU = 1, 2


def submitted(
    offset: int, *, state: State = "r", dimensions: int = FRANCE, held: bool = False, origin: int | None = None
) -> Submitted:
    return Submitted(
        offset=offset,
        origin=offset if origin is None else origin,
        partition=3,
        dimensions=dimensions,
        minute=1000 + offset,
        state=state,
        digest=offset,
        held=held,
    )


def follow_up(
    event_type: FollowUpType, offset: int, *, origin: int | None = None, superseded: bool = False
) -> FollowUp:
    return FollowUp(offset, offset if origin is None else origin, event_type, superseded)


def after(*events: Event) -> tuple[Row, list[Change]]:
    """The row after all `events`, and what the last of them changed."""
    row: Row | None = None
    changes: tuple[Change, ...] = ()
    for event in events:
        row, changes, _ = transition(row, event)
    assert row is not None
    return row, list(changes)


def test_a_first_submission_counts_one_where_and_when_it_was_accepted() -> None:
    row, changes = after(submitted(7))
    assert row == Row(FRANCE, "r", False, 3, 7, 7, 7, 1007, 7)
    assert changes == [Change(FRANCE, "recorded", 1007, 1)]


def test_a_submission_with_a_date_of_confirmation_is_confirmed_at_once() -> None:
    _, changes = after(submitted(7, state="c"))
    assert changes == [Change(FRANCE, "confirmed", 1007, 1)]


def test_a_self_reported_act_counts_as_such() -> None:
    _, changes = after(submitted(7, state="s"))
    assert changes == [Change(FRANCE, "self_reported", 1007, 1)]


def test_a_repeat_does_not_change_the_total() -> None:
    before = after(submitted(7))[0]
    row, changes = after(submitted(7), submitted(8, dimensions=PERU))
    assert (row, changes) == (before, [])


def test_a_confirmation_moves_the_action_from_recorded_to_confirmed() -> None:
    _, changes = after(submitted(7), follow_up("confirmed", 8))
    assert changes == [Change(FRANCE, "recorded", 1007, -1), Change(FRANCE, "confirmed", 1007, 1)]


def test_a_repeat_with_a_date_confirms_what_was_recorded() -> None:
    row, changes = after(submitted(7), submitted(8, state="c", dimensions=PERU))
    assert row.state == "c"
    assert changes == [Change(FRANCE, "recorded", 1007, -1), Change(FRANCE, "confirmed", 1007, 1)]


@pytest.mark.parametrize("state", ["r", "c", "s"])
def test_a_withdrawal_takes_away_what_was_counted(state: State) -> None:
    evidence = EVIDENCE[state]
    row, changes = after(submitted(7, state=state), follow_up("withdrawn", 8))
    assert row.state == "w"
    assert changes == [Change(FRANCE, evidence, 1007, -1, withdrawn=1)]


def test_whoever_withdrew_may_sign_again_with_other_dimensions() -> None:
    row, changes = after(submitted(7), follow_up("withdrawn", 8), submitted(9, dimensions=PERU))
    assert (row.first_offset, row.opened) == (7, 9)
    assert changes == [Change(PERU, "recorded", 1009, 1)]


def test_a_confirmation_after_a_withdrawal_does_nothing() -> None:
    row, changes = after(submitted(7), follow_up("withdrawn", 8), follow_up("confirmed", 9))
    assert (row.state, changes) == ("w", [])


@pytest.mark.parametrize("event_type", ["confirmed", "withdrawn", "invalidated", "reinstated", "released"])
def test_what_presupposes_a_submission_is_refused_without_one(event_type: FollowUpType) -> None:
    with pytest.raises(PermanentError, match="no-submission"):
        transition(None, follow_up(event_type, 7))


def test_what_is_held_counts_only_once_released() -> None:
    _, held = after(submitted(7, held=True))
    _, released = after(submitted(7, held=True), follow_up("released", 8))
    assert held == [Change(FRANCE, "recorded", 1007, 0, held=1)]
    assert released == [Change(FRANCE, "recorded", 1007, 0, held=-1), Change(FRANCE, "recorded", 1007, 1)]


def test_what_people_only_say_is_still_only_said_after_it_was_held() -> None:
    held = submitted(7, state="s", held=True)
    no_longer_held = Change(FRANCE, "self_reported", 1007, 0, held=-1)
    assert after(held)[1] == [Change(FRANCE, "self_reported", 1007, 0, held=1)]
    assert after(held, follow_up("confirmed", 8))[1] == []
    released = after(held, follow_up("released", 8))[1]
    assert released == [no_longer_held, Change(FRANCE, "self_reported", 1007, 1)]
    row, changes = after(held, follow_up("withdrawn", 8))
    assert (row.state, changes) == ("w", [no_longer_held])


def test_a_confirmation_of_something_held_takes_effect_when_it_is_released() -> None:
    held = (submitted(7, held=True), follow_up("confirmed", 8))
    no_longer_held = Change(FRANCE, "confirmed", 1007, 0, held=-1)
    assert after(*held)[1] == [
        Change(FRANCE, "recorded", 1007, 0, held=-1),
        Change(FRANCE, "confirmed", 1007, 0, held=1),
    ]
    assert after(*held, follow_up("released", 9))[1] == [no_longer_held, Change(FRANCE, "confirmed", 1007, 1)]


def test_something_held_can_be_withdrawn_at_no_cost() -> None:
    row, changes = after(submitted(7, held=True), follow_up("withdrawn", 8))
    assert (row.state, changes) == ("w", [Change(FRANCE, "recorded", 1007, 0, held=-1)])


def test_invalidation_takes_the_count_out_and_reinstatement_puts_it_back() -> None:
    row, taken = after(submitted(7), follow_up("invalidated", 8))
    _, put_back = after(submitted(7), follow_up("invalidated", 8), follow_up("reinstated", 9))
    assert row.invalidated
    assert taken == [Change(FRANCE, "recorded", 1007, -1, invalidated=1)]
    assert put_back == [Change(FRANCE, "recorded", 1007, 1, reinstated=1)]


def test_beneath_the_mark_the_state_goes_on_moving() -> None:
    marked = (submitted(7), follow_up("invalidated", 8), follow_up("confirmed", 9))
    assert after(*marked)[1] == []
    assert after(*marked, follow_up("reinstated", 10))[1] == [Change(FRANCE, "confirmed", 1007, 1, reinstated=1)]


def test_what_was_withdrawn_beneath_the_mark_does_not_come_back() -> None:
    marked = (submitted(7), follow_up("invalidated", 8), follow_up("withdrawn", 9), follow_up("reinstated", 10))
    assert after(*marked)[1] == []


def test_an_event_at_or_below_the_applied_offset_does_nothing() -> None:
    before = after(submitted(7), follow_up("withdrawn", 8))[0]
    assert transition(before, submitted(7)) == (before, (), False)
    assert transition(before, submitted(8)) == (before, (), False)


@pytest.mark.parametrize("event_type", ["confirmed", "withdrawn", "invalidated"])
def test_a_redriven_event_older_than_the_submission_that_opened_the_row_does_nothing(event_type: FollowUpType) -> None:
    before = after(submitted(7))[0]
    assert transition(before, follow_up(event_type, 9, origin=5)).row == before


def test_a_redriven_submission_older_than_the_withdrawal_does_nothing() -> None:
    row, changes = after(submitted(5), follow_up("withdrawn", 7), submitted(9, origin=6))
    assert (row.state, changes) == ("w", [])


@pytest.mark.parametrize("event_type", ["withdrawn", "invalidated"])
def test_a_redriven_withdrawal_does_not_undo_a_later_submission_that_changed_nothing(event_type: FollowUpType) -> None:
    row, changes = after(submitted(5), submitted(8), follow_up(event_type, 9, origin=7, superseded=True))
    assert (row.state, row.invalidated, changes) == ("r", False, [])

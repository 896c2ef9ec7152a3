"""The sums of tally batches, and the update that go on public record."""

from __future__ import annotations

from typing import Any

from services.marathon.domain.cells import (
    POLICY_CHANGED,
    Cell,
    CellChange,
    CorrectionKey,
    DayKey,
    MinuteKey,
    TotalsUpdate,
)
from shared.clock import parse_rfc3339
from shared.events.tallies import ActionsCounted, Delta

MINUTE = 29_000_000
"""The minute of acceptance; later update of the action are recorded when they happen."""
DAY = int(parse_rfc3339("2026-12-01T12:00:00Z")) // 86_400


def tally_batch(*deltas: Delta) -> ActionsCounted:
    return ActionsCounted(
        source="petitions.signatures.v1",
        epoch=0,
        partition=0,
        first=0,
        next=9,
        part=0,
        parts=1,
        counted_at="2026-12-01T12:00:00.000Z",
        accepted_until="2026-12-01T12:00:00.000Z",
        deltas=list(deltas),
    )


def delta(evidence: str, change: int, **more: Any) -> Delta:
    return Delta(
        campaign="c",
        case="k",
        section=None,
        kind="signature",
        channel="web",
        country="FR",
        language="fr",
        evidence=evidence,  # type: ignore[arg-type]
        change=change,
        **{"minute": MINUTE, **more},
    )


def corrections(update: TotalsUpdate) -> dict[str, int]:
    return {key.reason: entry.change for key, entry in update.corrections.items()}


def test_deltas_of_one_cell_are_added_up() -> None:
    update = TotalsUpdate.of(
        [tally_batch(delta("recorded", 3), delta("recorded", 4)), tally_batch(delta("confirmed", 1))], set()
    )
    cell = Cell("c", "k", None, "signature", "web", "FR", "fr", "recorded")
    assert update.cells[cell].count == 7
    assert update.minutes[MinuteKey("c", MINUTE, "k", "confirmed")] == 1
    assert corrections(update) == {}


def test_what_people_take_back_is_counted_as_withdrawn_and_is_no_correction() -> None:
    update = TotalsUpdate.of([tally_batch(delta("confirmed", -2, withdrawn=2))], set())
    assert sum(change.withdrawn for change in update.cells.values()) == 2
    assert corrections(update) == {}


def test_invalidated_and_reinstated_actions_go_on_public_record() -> None:
    update = TotalsUpdate.of([tally_batch(delta("confirmed", -74, invalidated=77, reinstated=3))], set())
    assert corrections(update) == {"invalidated": -77, "reinstated": 3}
    assert CorrectionKey("c", DAY, "invalidated", "confirmed", after_freeze=False) in update.corrections


def test_the_public_record_uses_the_word_that_a_decision_gives_whatever_it_is() -> None:
    update = TotalsUpdate.of(
        [
            tally_batch(
                delta("confirmed", -5, invalidated=5, reason="robot"),
                delta("recorded", -2, invalidated=3, reinstated=1, reason="a word of tomorrow"),
                delta("recorded", -4, invalidated=4),
            )
        ],
        set(),
    )
    assert corrections(update) == {"robot": -5, "a word of tomorrow": -2, "invalidated": -4}


def test_no_decision_can_claim_a_reason_that_the_ledger_gives_itself() -> None:
    update = TotalsUpdate.of([tally_batch(delta("confirmed", -5, invalidated=5, reason=POLICY_CHANGED))], set())
    assert corrections(update) == {"invalidated": -5}


def test_what_is_held_is_not_counted_and_adds_up_by_cell_and_day() -> None:
    later = delta("recorded", 2, held=-2, minute=MINUTE + 1440)
    update = TotalsUpdate.of([tally_batch(delta("recorded", 1, held=3), later)], set())
    cell = Cell("c", "k", None, "signature", "web", "FR", "fr", "recorded")
    assert update.cells[cell] == CellChange(count=3, held=1)
    day = MINUTE // 1440
    assert update.days == {
        DayKey(day, cell): CellChange(count=1, held=3),
        DayKey(day + 1, cell): CellChange(count=2, held=-2),
    }


def test_after_the_freeze_everything_goes_on_public_record() -> None:
    update = TotalsUpdate.of([tally_batch(delta("confirmed", 5 - 2 - 1, withdrawn=2, invalidated=1))], {"c"})
    assert corrections(update) == {"invalidated": -1, "withdrawn-after-close": -2, "counted-after-close": 5}
    assert sum(entry.change for entry in update.corrections.values()) == 2
    assert all(key.after_freeze for key in update.corrections)


def test_after_the_freeze_the_course_stays_as_it_is() -> None:
    batches = [tally_batch(delta("confirmed", -2, withdrawn=2))]
    for closed in (TotalsUpdate.of(batches, {"c"}), TotalsUpdate.reverting(batches, {"c"}, MINUTE)):
        assert (dict(closed.minutes), dict(closed.days)) == ({}, {})
    other = TotalsUpdate.of(batches, {"another"})
    assert other.minutes
    assert other.days


def test_undoing_takes_back_exactly_what_was_added() -> None:
    batches = [tally_batch(delta("recorded", 3, held=2), delta("confirmed", -1, withdrawn=1))]
    added, undone = TotalsUpdate.of(batches, set()), TotalsUpdate.reverting(batches, set(), MINUTE)
    for cell, change in added.cells.items():
        assert (undone.cells[cell].count, undone.cells[cell].withdrawn) == (-change.count, -change.withdrawn)
        assert undone.cells[cell].held == -change.held
    assert sum(entry.change for entry in undone.corrections.values()) == -2

"""When a mail goes, and what it covers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.notifications.domain.plan import (
    ACTS_IN_A_MAIL,
    MAILS_A_DAY,
    OTHER_DATA_IN_A_MAIL,
    History,
    Pending,
    Place,
    Plan,
    plan,
)

START = datetime(2026, 12, 1, 12, tzinfo=UTC)
CLOSES = datetime(2027, 1, 8, tzinfo=UTC)
DAY = timedelta(days=1)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def pending(
    offset: int, minutes: float = 0, *, campaign: str = "w4r", other_data: bool = False, closes: datetime = CLOSES
) -> Pending:
    return Pending(Place("topic", 0, offset), campaign, at(minutes), closes, other_data)


@dataclass
class Address:
    """An address and what has been mailed to it, as the planner keeps it."""

    pending: dict[Place, Pending] = field(default_factory=dict)
    mails: list[tuple[datetime, list[Pending]]] = field(default_factory=list)

    def act(self, one: Pending) -> None:
        self.pending[one.place] = one

    def confirm(self, *places: Place) -> None:
        for place in places:
            del self.pending[place]

    def plan(self, now: datetime) -> Plan:
        campaigns = {one.campaign: time for time, covered in self.mails for one in covered}
        decided = plan(list(self.pending.values()), History([time for time, _ in self.mails], campaigns), now)
        for one in decided.expired:
            del self.pending[one.place]
        if decided.cover:
            self.mails.append((now, list(decided.cover)))
            for one in decided.cover:
                self.pending[one.place] = replace(one, mailed=True)
        return decided

    def offsets(self) -> list[list[int]]:
        return [[one.place.offset for one in covered] for _, covered in self.mails]


def test_the_first_confirmation_goes_at_once() -> None:
    address = Address()
    address.act(pending(0))
    assert address.plan(START).cover == (pending(0),)


def test_what_follows_within_ten_minutes_goes_together() -> None:
    address = Address()
    for offset, minutes in enumerate((0, 1, 5, 9.9)):
        address.act(pending(offset, minutes))
        assert address.plan(at(minutes)).look_again == (at(10) if offset else None)
    address.plan(at(10))
    assert address.offsets() == [[0], [1, 2, 3]]


def test_what_is_done_later_than_ten_minutes_after_a_mail_goes_at_once() -> None:
    address = Address()
    for offset, minutes in enumerate((0, 30)):
        address.act(pending(offset, minutes))
        address.plan(at(minutes))
    assert [time for time, _ in address.mails] == [at(0), at(30)]


def test_the_first_confirmation_in_another_campaign_goes_at_once_and_takes_along_what_waits() -> None:
    address = Address()
    address.act(pending(0))
    address.plan(at(0))
    address.act(pending(1, 2))
    address.act(pending(2, 3, campaign="other"))
    address.plan(at(3))
    assert address.offsets() == [[0], [1, 2]]


def test_the_third_mail_of_a_day_waits_for_ten_quiet_minutes_and_repeats_what_is_unconfirmed() -> None:
    address = Address()
    for offset, minutes in enumerate((0, 2, 13)):
        address.act(pending(offset, minutes))
        address.plan(at(minutes))
        if minutes == 2:
            address.plan(at(10))
            address.confirm(Place("topic", 0, 1))
    assert address.plan(at(22)).look_again == at(23)
    address.plan(at(23))
    assert address.offsets() == [[0], [1], [2, 0]]


def test_the_third_mail_waits_an_hour_at_most() -> None:
    address = Address()
    for offset, minutes in enumerate((0, 2)):
        address.act(pending(offset, minutes))
        address.plan(at(10 * offset))
    for offset, minutes in enumerate(range(12, 90, 5), start=2):
        address.act(pending(offset, minutes))
        address.plan(at(minutes))
    assert [time for time, _ in address.mails] == [at(0), at(10), at(72)]


def test_a_fourth_mail_waits_until_the_first_is_a_day_old() -> None:
    address = Address()
    for offset, minutes in enumerate((0, 30, 60, 90)):
        address.act(pending(offset, minutes, campaign=f"campaign {offset}"))
        address.plan(at(minutes))
    assert len(address.mails) == MAILS_A_DAY
    assert address.plan(at(100)).look_again == START + DAY
    assert Place("topic", 0, 3) in {one.place for one in address.plan(START + DAY).cover}


def test_what_can_no_longer_be_confirmed_is_not_mailed() -> None:
    late = pending(0, closes=at(5))
    assert plan([late], History(), at(5)) == Plan((), (late,), None)


def test_a_flood_of_other_data_does_not_push_out_the_acts_of_the_person() -> None:
    flood = [pending(offset, other_data=True) for offset in range(500)]
    mine = pending(1000, 1)
    decided = plan([*flood, mine], History(), at(1))
    assert decided.cover[0] == mine
    assert len(decided.cover) == 1 + OTHER_DATA_IN_A_MAIL
    assert decided.look_again is not None


def test_a_mail_covers_only_what_came_with_one_spelling_and_the_others_get_theirs_next() -> None:
    address = Address()
    for offset, spelling in enumerate((b"alike", b"plain", b"alike", b"plain")):
        address.act(replace(pending(offset, offset), address=spelling))
    for minutes in (5, 15):
        address.plan(at(minutes))
    assert address.offsets() == [[0, 2], [1, 3]]


def test_the_last_mail_of_a_day_repeats_nothing_that_came_with_another_spelling() -> None:
    address = Address()
    for offset, spelling in enumerate((b"alike", b"plain", b"plain")):
        address.act(replace(pending(offset, 30 * offset), address=spelling))
        address.plan(at(30 * offset))
    address.plan(at(90))
    assert address.offsets() == [[0], [1], [2, 1]]


def test_a_flood_from_one_network_does_not_push_out_what_came_from_another() -> None:
    flood = [replace(pending(offset, offset / 100), turn=offset + 1) for offset in range(500)]
    mine = pending(1000, 10)
    decided = plan([*flood, mine], History(), at(10))
    assert [one.place.offset for one in decided.cover[:3]] == [0, 1000, 1]


def test_a_flood_of_spellings_leaves_the_persons_own_the_next_mail() -> None:
    address = Address()
    for offset in range(100):
        address.act(replace(pending(offset, offset / 100), turn=offset + 1, address=b"alike %d" % offset))
    address.act(replace(pending(1000, 2), address=b"plain"))
    for minutes in (2, 12):
        address.plan(at(minutes))
    assert address.offsets() == [[0], [1000]]


def test_a_mail_covers_no_more_than_one_link_can_carry() -> None:
    decided = plan([pending(offset) for offset in range(500)], History(), at(0))
    assert len(decided.cover) == ACTS_IN_A_MAIL


acts = st.lists(
    st.tuples(st.integers(0, 3_000), st.sampled_from(["one", "two", "three", "four"]), st.booleans()), max_size=60
)


@settings(deadline=None)
@given(acts, st.integers(1, 60), st.sets(st.integers(0, 59)))
def test_no_act_is_lost_and_no_address_gets_more_than_three_mails_a_day(
    drawn: list[tuple[int, str, bool]], every: int, confirmed: set[int]
) -> None:
    address = Address()
    todo = [
        pending(offset, minute, campaign=campaign, other_data=other_data)
        for offset, (minute, campaign, other_data) in enumerate(sorted(drawn))
    ]
    minute = 0.0
    covered: set[int] = set()
    while todo or any(not one.mailed for one in address.pending.values()):
        while todo and todo[0].accepted_at <= at(minute):
            address.act(todo.pop(0))
        decided = address.plan(at(minute))
        new = {one.place.offset for one in decided.cover if not one.mailed}
        assert not new & covered
        covered |= new
        for one in decided.cover:
            if one.place.offset in confirmed:
                address.confirm(one.place)
        assert not decided.expired
        minute += every
        assert minute < 60 * 24 * 20, "an act waits for ever"
    assert covered == set(range(len(drawn)))
    times = [time for time, _ in address.mails]
    for first, fourth in zip(times, times[MAILS_A_DAY:], strict=False):
        assert fourth - first >= DAY
    firsts = {campaign: min(minute for minute, name, _ in drawn if name == campaign) for _, campaign, _ in drawn}
    if len(firsts) == 1 and times:
        assert times[0] - at(min(firsts.values())) < timedelta(minutes=every)

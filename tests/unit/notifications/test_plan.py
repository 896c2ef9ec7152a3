"""When a mail goes, and what it covers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.notifications.domain.plan import History, Plan, WaitingDelivery, plan_mail
from services.notifications.mailings.confirmation.definition import CONFIRMATION
from shared.kafka.record_ref import RecordRef

START = datetime(2026, 12, 1, 12, tzinfo=UTC)
CLOSES = datetime(2027, 1, 8, tzinfo=UTC)
DAY = timedelta(days=1)
GATHERING = CONFIRMATION.gathering
MAX_MAILS_PER_DAY = GATHERING.daily_limit.mails


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def unconfirmed(
    offset: int, minutes: float = 0, *, campaign: str = "w4r", other_data: bool = False, closes: datetime = CLOSES
) -> WaitingDelivery:
    record = RecordRef("topic", 0, offset)
    return WaitingDelivery(b"ana", record, b"plain", campaign, at(minutes), other_data, expires_at=closes)


@dataclass
class Address:
    """An address, its unconfirmed deliveries and its mails, as the planner stores them."""

    unconfirmed: dict[RecordRef, WaitingDelivery] = field(default_factory=dict)
    mails: list[tuple[datetime, list[WaitingDelivery]]] = field(default_factory=list)

    def add(self, delivery: WaitingDelivery) -> None:
        self.unconfirmed[delivery.record] = delivery

    def confirm(self, *submissions: RecordRef) -> None:
        for submission in submissions:
            del self.unconfirmed[submission]

    def plan(self, now: datetime) -> Plan:
        campaigns = {delivery.campaign: time for time, covered in self.mails for delivery in covered}
        plan = plan_mail(
            GATHERING, list(self.unconfirmed.values()), History([time for time, _ in self.mails], campaigns), now
        )
        for delivery in plan.expired:
            del self.unconfirmed[delivery.record]
        if plan.covered:
            self.mails.append((now, list(plan.covered)))
            for delivery in plan.covered:
                self.unconfirmed[delivery.record] = delivery._replace(mailed=True)
        return plan

    def covered_offsets(self) -> list[list[int]]:
        return [[delivery.record.offset for delivery in covered] for _, covered in self.mails]


def test_the_first_confirmation_goes_at_once() -> None:
    address = Address()
    address.add(unconfirmed(0))
    assert address.plan(START).covered == (unconfirmed(0),)


def test_what_follows_within_ten_minutes_goes_together() -> None:
    address = Address()
    for offset, minutes in enumerate((0, 1, 5, 9.9)):
        address.add(unconfirmed(offset, minutes))
        assert address.plan(at(minutes)).replan_at == (at(10) if offset else None)
    address.plan(at(10))
    assert address.covered_offsets() == [[0], [1, 2, 3]]


def test_what_is_done_later_than_ten_minutes_after_a_mail_goes_at_once() -> None:
    address = Address()
    for offset, minutes in enumerate((0, 30)):
        address.add(unconfirmed(offset, minutes))
        address.plan(at(minutes))
    assert [time for time, _ in address.mails] == [at(0), at(30)]


def test_the_first_confirmation_in_another_campaign_goes_at_once_and_takes_along_what_waits() -> None:
    address = Address()
    address.add(unconfirmed(0))
    address.plan(at(0))
    address.add(unconfirmed(1, 2))
    address.add(unconfirmed(2, 3, campaign="other"))
    address.plan(at(3))
    assert address.covered_offsets() == [[0], [1, 2]]


def test_the_third_mail_of_a_day_waits_for_ten_quiet_minutes_and_repeats_what_is_unconfirmed() -> None:
    address = Address()
    for offset, minutes in enumerate((0, 2, 13)):
        address.add(unconfirmed(offset, minutes))
        address.plan(at(minutes))
        if minutes == 2:
            address.plan(at(10))
            address.confirm(RecordRef("topic", 0, 1))
    assert address.plan(at(22)).replan_at == at(23)
    address.plan(at(23))
    assert address.covered_offsets() == [[0], [1], [2, 0]]


def test_the_third_mail_waits_an_hour_at_most() -> None:
    address = Address()
    for offset, minutes in enumerate((0, 2)):
        address.add(unconfirmed(offset, minutes))
        address.plan(at(10 * offset))
    for offset, minutes in enumerate(range(12, 90, 5), start=2):
        address.add(unconfirmed(offset, minutes))
        address.plan(at(minutes))
    assert [time for time, _ in address.mails] == [at(0), at(10), at(72)]


def test_a_fourth_mail_waits_until_the_first_is_a_day_old() -> None:
    address = Address()
    for offset, minutes in enumerate((0, 30, 60, 90)):
        address.add(unconfirmed(offset, minutes, campaign=f"campaign {offset}"))
        address.plan(at(minutes))
    assert len(address.mails) == MAX_MAILS_PER_DAY
    assert address.plan(at(100)).replan_at == START + DAY
    assert RecordRef("topic", 0, 3) in {delivery.record for delivery in address.plan(START + DAY).covered}


def test_what_can_no_longer_be_confirmed_is_not_mailed() -> None:
    late = unconfirmed(0, closes=at(5))
    assert plan_mail(GATHERING, [late], History(), at(5)) == Plan((), (late,), None)


def test_a_flood_of_other_data_does_not_push_out_the_acts_of_the_person() -> None:
    flood = [unconfirmed(offset, other_data=True) for offset in range(500)]
    own = unconfirmed(1000, 1)
    result = plan_mail(GATHERING, [*flood, own], History(), at(1))
    assert result.covered[0] == own
    assert len(result.covered) == 1 + GATHERING.max_other_data
    assert result.replan_at is not None


def test_a_mail_covers_only_what_came_with_one_spelling_and_the_others_get_theirs_next() -> None:
    address = Address()
    for offset, spelling in enumerate((b"alike", b"plain", b"alike", b"plain")):
        address.add(unconfirmed(offset, offset)._replace(address=spelling))
    for minutes in (5, 15):
        address.plan(at(minutes))
    assert address.covered_offsets() == [[0, 2], [1, 3]]


def test_the_last_mail_of_a_day_repeats_nothing_that_came_with_another_spelling() -> None:
    address = Address()
    for offset, spelling in enumerate((b"alike", b"plain", b"plain")):
        address.add(unconfirmed(offset, 30 * offset)._replace(address=spelling))
        address.plan(at(30 * offset))
    address.plan(at(90))
    assert address.covered_offsets() == [[0], [1], [2, 1]]


def test_a_flood_from_one_network_does_not_push_out_what_came_from_another() -> None:
    flood = [unconfirmed(offset, offset / 100)._replace(network_rank=offset + 1) for offset in range(500)]
    own = unconfirmed(1000, 10)
    result = plan_mail(GATHERING, [*flood, own], History(), at(10))
    assert [delivery.record.offset for delivery in result.covered[:3]] == [0, 1000, 1]


def test_a_flood_of_spellings_leaves_the_persons_own_the_next_mail() -> None:
    address = Address()
    for offset in range(100):
        address.add(unconfirmed(offset, offset / 100)._replace(network_rank=offset + 1, address=b"alike %d" % offset))
    address.add(unconfirmed(1000, 2)._replace(address=b"plain"))
    for minutes in (2, 12):
        address.plan(at(minutes))
    assert address.covered_offsets() == [[0], [1000]]


def test_a_mail_covers_no_more_than_one_link_can_carry() -> None:
    result = plan_mail(GATHERING, [unconfirmed(offset) for offset in range(500)], History(), at(0))
    assert len(result.covered) == GATHERING.max_acts


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
        unconfirmed(offset, minute, campaign=campaign, other_data=other_data)
        for offset, (minute, campaign, other_data) in enumerate(sorted(drawn))
    ]
    minute = 0.0
    covered: set[int] = set()
    while todo or any(not delivery.mailed for delivery in address.unconfirmed.values()):
        while todo and todo[0].accepted_at <= at(minute):
            address.add(todo.pop(0))
        result = address.plan(at(minute))
        new = {delivery.record.offset for delivery in result.covered if not delivery.mailed}
        assert not new & covered
        covered |= new
        for delivery in result.covered:
            if delivery.record.offset in confirmed:
                address.confirm(delivery.record)
        assert not result.expired
        minute += every
        assert minute < 60 * 24 * 20, "an act waits for ever"
    assert covered == set(range(len(drawn)))
    times = [time for time, _ in address.mails]
    for first, fourth in zip(times, times[MAX_MAILS_PER_DAY:], strict=False):
        assert fourth - first >= DAY
    firsts = {campaign: min(minute for minute, name, _ in drawn if name == campaign) for _, campaign, _ in drawn}
    if len(firsts) == 1 and times:
        assert times[0] - at(min(firsts.values())) < timedelta(minutes=every)


def test_where_nothing_waits_for_a_confirmation_no_mail_repeats_another() -> None:
    once = replace(GATHERING, until_confirmed=False)
    mailed = unconfirmed(0)._replace(mailed=True)
    for gathering, offsets in ((GATHERING, [1, 0]), (once, [1])):
        history = History([at(0), at(10)], {"w4r": at(10)})
        plan = plan_mail(gathering, [mailed, unconfirmed(1, 11)], history, at(21))
        assert [delivery.record.offset for delivery in plan.covered] == offsets

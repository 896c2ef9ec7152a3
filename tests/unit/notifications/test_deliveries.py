"""Which events get a delivery."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.notifications.domain.deliveries import ActEvent, ExistingDelivery, NewDelivery, decide

START = datetime(2026, 12, 1, tzinfo=UTC)
ACT, OTHER_ACT = b"act", b"other act"
ANA, BOB = b"ana", b"bob"
PLAIN, ALIKE = b"ana@example.org", b"a look-alike"


def submitted(
    offset: int, hours: float = 0, *, key: bytes = ACT, digest: bytes = ANA, address: bytes = PLAIN
) -> NewDelivery:
    return NewDelivery(
        topic="topic",
        partition=0,
        offset=offset,
        recipient=b"recipient",
        address=address,
        campaign="w4r",
        case="case",
        subject="subject",
        kind="signature",
        key=key,
        digest=digest,
        other_data=False,
        accepted_at=START + timedelta(hours=hours),
        locale="en",
        sealed=b"sealed",
        seal_key=1,
        network="home",
    )


def withdrawn(offset: int, key: bytes = ACT) -> ActEvent:
    return ActEvent("topic", 0, offset, key, START)


def offsets(decided: list[NewDelivery]) -> list[int]:
    return [delivery.offset for delivery in decided]


def test_a_submission_makes_a_delivery() -> None:
    assert decide([], [submitted(0)]) == [submitted(0)]


def test_a_repeat_within_a_day_makes_none() -> None:
    assert offsets(decide([], [submitted(0), submitted(1, 23.9)])) == [0]


def test_a_repeat_after_a_day_makes_another() -> None:
    assert offsets(decide([], [submitted(0), submitted(1, 24.1)])) == [0, 1]


def test_a_repeat_is_measured_from_the_last_delivery() -> None:
    assert offsets(decide([], [submitted(0), submitted(1, 20), submitted(2, 30), submitted(3, 50)])) == [0, 2]


def test_a_repeat_after_a_withdrawal_makes_another() -> None:
    assert offsets(decide([], [submitted(0), withdrawn(1), submitted(2, 1)])) == [0, 2]


def test_the_withdrawal_of_another_act_changes_nothing() -> None:
    assert offsets(decide([], [submitted(0), withdrawn(1, OTHER_ACT), submitted(2, 1)])) == [0]


def test_other_data_for_the_same_act_makes_a_delivery_that_says_so() -> None:
    decided = decide([], [submitted(0), submitted(1, digest=BOB)])
    assert [delivery.other_data for delivery in decided] == [False, True]


def test_a_look_alike_of_the_address_takes_nobodys_delivery_away() -> None:
    decided = decide([], [submitted(0, address=ALIKE), submitted(1), submitted(2, address=ALIKE), submitted(3)])
    assert offsets(decided) == [0, 1]
    assert [delivery.other_data for delivery in decided] == [False, True]


def test_what_was_left_without_a_mail_stands_in_the_way_of_nothing_later() -> None:
    for ended_digest, digest in itertools.product((ANA, BOB), (ANA, BOB)):
        existing = ExistingDelivery(ACT, ended_digest, PLAIN, 0, START, left_at=START + timedelta(hours=1))
        assert decide([existing], [submitted(1, 2, digest=digest)]) == [submitted(1, 2, digest=digest)]


def test_what_was_left_later_still_stood_when_a_replay_comes_to_the_repeat() -> None:
    existing = ExistingDelivery(ACT, ANA, PLAIN, 0, START, left_at=START + timedelta(hours=2))
    assert decide([existing], [submitted(1, 1)]) == []


def test_after_a_withdrawal_other_data_is_the_first_data() -> None:
    decided = decide([], [submitted(0), withdrawn(1), submitted(2, digest=BOB)])
    assert [delivery.other_data for delivery in decided] == [False, False]


def test_a_replay_knows_what_stood_before_the_submission_not_what_came_after() -> None:
    existing = [
        ExistingDelivery(ACT, ANA, PLAIN, 10, START, withdrawn_offset=12),
        ExistingDelivery(ACT, ANA, PLAIN, 13, START + timedelta(hours=1)),
    ]
    replayed: list[NewDelivery | ActEvent] = [submitted(10), submitted(11), withdrawn(12), submitted(13, 1)]
    assert offsets(decide(existing, replayed)) == [10, 13]


Drawn = tuple[str, bytes, bytes, bytes, int]
events: st.SearchStrategy[list[Drawn]] = st.lists(
    st.tuples(
        st.sampled_from(["submitted", "submitted", "submitted", "withdrawn"]),
        st.sampled_from([ACT, OTHER_ACT]),
        st.sampled_from([ANA, BOB]),
        st.sampled_from([PLAIN, PLAIN, ALIKE]),
        st.integers(0, 20),
    ),
    max_size=30,
)


def as_events(drawn: list[Drawn]) -> list[NewDelivery | ActEvent]:
    hours = 0
    result: list[NewDelivery | ActEvent] = []
    for offset, (event_type, key, digest, address, later) in enumerate(drawn):
        hours += later
        if event_type == "withdrawn":
            result.append(withdrawn(offset, key))
        else:
            result.append(submitted(offset, hours, key=key, digest=digest, address=address))
    return result


class DeliveryTable:
    """The deliveries as the database stores them."""

    def __init__(self) -> None:
        self.rows: dict[int, ExistingDelivery] = {}

    def apply(self, batch: list[NewDelivery | ActEvent]) -> None:
        for made in decide(map(replace, self.rows.values()), batch):
            self.rows.setdefault(
                made.offset, ExistingDelivery(made.key, made.digest, made.address, made.offset, made.accepted_at)
            )
        for event in batch:
            if isinstance(event, ActEvent):
                for row in self.rows.values():
                    if row.key == event.key and row.active_at(event.offset):
                        row.withdrawn_offset = event.offset


@given(events, st.lists(st.integers(0, 30)), st.integers(0, 30))
def test_any_split_and_any_replay_make_the_deliveries_of_one_pass(
    drawn: list[Drawn], cuts: list[int], replay_from: int
) -> None:
    stream = as_events(drawn)
    once = DeliveryTable()
    once.apply(stream)
    split = DeliveryTable()
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in itertools.pairwise(bounds):
        split.apply(stream[start:end])
    assert split.rows == once.rows
    split.apply(stream[replay_from:])
    split.apply(stream)
    assert split.rows == once.rows


@given(events)
def test_every_submission_has_a_standing_delivery_of_its_content_in_the_day_before(
    drawn: list[Drawn],
) -> None:
    stream = as_events(drawn)
    table = DeliveryTable()
    table.apply(stream)
    for event in stream:
        if isinstance(event, NewDelivery):
            covering = [
                row
                for row in table.rows.values()
                if (row.key, row.digest, row.address) == (event.key, event.digest, event.address)
                and event.accepted_at - timedelta(hours=24) <= row.accepted_at <= event.accepted_at
                and (row.offset == event.offset or row.active_at(event.offset))
            ]
            assert covering

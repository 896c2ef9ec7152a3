from __future__ import annotations

from collections import Counter
from itertools import islice

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.demo import posts, published
from deploy.demo.plan import BATCH_ITEMS, Plan, make_plan

RUN, STARTED_AT = "20261121041503", "2026-11-21T04:15:03Z"


def small_plan(*counts: int) -> Plan:
    return Plan(
        RUN, STARTED_AT, {f"{chr(65 + index // 26)}{chr(65 + index % 26)}": n for index, n in enumerate(counts)}
    )


def test_the_published_countries_sum_to_what_was_published() -> None:
    counts = published.by_country()
    assert sum(counts.values()) == 5_154_004
    assert len(counts) == 232


def test_the_publishers_own_code_for_the_antarctic_is_counted_as_antarctica() -> None:
    counts = published.by_country()
    assert "BAT" not in counts
    assert counts["AQ"] == 12


def test_every_country_has_somebody_at_any_scale() -> None:
    assert min(published.expected(1_000_000).values()) == 1
    assert published.expected(10)["FR"] == published.by_country()["FR"] // 10


@pytest.mark.parametrize("scale", [100, 1000, 100_000])
def test_what_is_posted_is_what_is_expected(scale: int) -> None:
    plan = make_plan(RUN, STARTED_AT, scale)
    people: dict[str, str] = {}
    for post in posts.singles(plan):
        if post.content_type == posts.JSON:
            body = msgspec.json.decode(post.body)
            people[body["email"].lower()] = body["country"]
    forms = plan.singles - len(people)
    sent = bad = 0
    for post in posts.batches(plan):
        items = msgspec.json.decode(post.body)["items"]
        sent += len(items)
        bad += len(post.bad_items)
        people.update(
            (item["email"].lower(), item["country"]) for index, item in enumerate(items) if index not in post.bad_items
        )
    assert len(people) + forms == plan.people
    assert bad == plan.bad_items
    assert sent - bad == plan.people - plan.singles + (plan.people - plan.singles) * 3 // 100
    assert 0 <= forms <= plan.singles // 10 + 1


@settings(max_examples=50)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_every_person_is_met_once_and_in_the_right_country(counts: list[int]) -> None:
    plan = small_plan(*counts)
    signers = [plan.signer(number) for number in range(plan.people)]
    assert Counter(signer.country for signer in signers) == plan.countries
    assert len({signer.email for signer in signers}) == plan.people


def test_repeats_are_of_people_who_signed_before_and_as_many_as_planned() -> None:
    plan = make_plan(RUN, STARTED_AT, 200)
    seen: set[str] = set()
    repeats = 0
    for signers in (plan.single_signers(), plan.partner_signers()):
        for signer in signers:
            repeats += signer.email.lower() in seen
            seen.add(signer.email.lower())
    assert repeats == plan.planned_repeats
    assert repeats == pytest.approx(0.03 * plan.people, rel=0.01)


def test_a_run_is_the_same_each_time_and_shares_no_address_with_another_run() -> None:
    first, again, other = (
        list(islice(make_plan(run, STARTED_AT, 1000).partner_signers(), 500)) for run in (RUN, RUN, "2027")
    )
    assert first == again
    assert not {signer.email for signer in first} & {signer.email for signer in other}


def test_every_address_is_at_a_domain_reserved_for_examples() -> None:
    plan = make_plan(RUN, STARTED_AT, 1000)
    domains = {signer.email.lower().rpartition("@")[2] for signer in plan.partner_signers()}
    assert domains == {"example.org", "example.net", "example.com"}


def test_no_batch_is_larger_than_the_contract_allows() -> None:
    assert all(
        len(msgspec.json.decode(post.body)["items"]) <= BATCH_ITEMS
        for post in posts.batches(make_plan(RUN, STARTED_AT, 100))
    )


@pytest.mark.parametrize("scale", [1, 10, 100, 10_000_000])
def test_every_map_of_the_expected_totals_sums_to_the_same(scale: int) -> None:
    plan = make_plan(RUN, STARTED_AT, scale)
    assert {sum(cells.values()) for cells in plan.expected_signatures().values()} == {plan.people}
    assert len({sum(cells.values()) for cells in plan.expected_messages().values()}) == 1

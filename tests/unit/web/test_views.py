"""Views: the content of pages, computed from events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import parse_rfc3339
from shared.web.views.acts import thanks_view, token_view
from shared.web.views.board import board_view, evidence_parts
from shared.web.views.campaigns import campaign_view, home_view
from shared.web.views.cases import case_view
from shared.web.views.catalog_view import localize
from shared.web.views.forms import FormState
from tests.support.page_samples import (
    CASE,
    NOW,
    SAMPLE_CASES,
    SLUG,
    SampleCatalog,
    campaign,
    case,
    correction,
    sample_catalog,
    totals,
)


def test_a_campaign_lists_its_cases_by_name_and_marks_the_one_with_the_fewest() -> None:
    view = campaign_view(sample_catalog(), SLUG, now=NOW, language="en")
    names = [card.name for card in view.cases]
    assert names == sorted(names)
    assert [card.slug for card in view.cases if card.fewest] == ["the-three-of-birgu"]
    assert view.count.count == 5_154_004
    assert view.common_goal == 650_000


def test_nobody_is_marked_where_two_have_the_fewest() -> None:
    catalog = sample_catalog()
    catalog.totals[SLUG] = totals(by_case={})
    assert not any(card.fewest for card in campaign_view(catalog, SLUG, now=NOW, language="en").cases)


def test_cases_without_goals_share_one_scale() -> None:
    catalog = sample_catalog()
    catalog.cases = {slug: case(slug, goal=None) for slug, *_ in SAMPLE_CASES}
    assert {card.count.scale for card in campaign_view(catalog, SLUG, now=NOW, language="en").cases} == {1_000_000}


@pytest.mark.parametrize(
    ("moment", "phase", "days", "hours"),
    [
        ("2026-11-19T23:59:59Z", "before", 42, 1_008),
        ("2026-11-20T00:00:00Z", "open", 42, 1_008),
        ("2026-12-31T23:59:59Z", "open", 0, 0),
        ("2026-12-31T12:00:00Z", "open", 0, 12),
        ("2027-01-01T00:00:00Z", "closed", 0, 0),
    ],
)
def test_a_campaign_opens_with_its_first_moment_and_is_closed_at_its_last(
    moment: str, phase: str, days: int, hours: int
) -> None:
    window = campaign_view(sample_catalog(), SLUG, now=parse_rfc3339(moment), language="en").window
    assert (window.phase, window.days_left, window.hours_left) == (phase, days, hours)


def test_open_campaigns_come_first_at_home() -> None:
    catalog = sample_catalog()
    catalog.campaigns = {
        "past": campaign(slug="past", closes="2026-11-25T00:00:00Z"),
        "soon": campaign(slug="soon", opens="2026-12-05T00:00:00Z"),
        SLUG: campaign(),
    }
    assert [view.slug for view in home_view(catalog, now=NOW, language="en")] == [SLUG, "soon", "past"]


def test_a_case_is_shown_before_the_first_totals_arrive() -> None:
    catalog = sample_catalog()
    catalog.totals.clear()
    view = case_view(catalog, CASE, now=NOW, language="en")
    assert view.count.count == 0
    assert view.count.as_of is None


def test_a_text_falls_back_to_the_language_it_has_and_says_so() -> None:
    assert localize({"be": "Ліст"}, "fr").language == "be"
    assert localize({"be": "Ліст", "fr": "Lettre"}, "fr").text == "Lettre"
    assert localize({}, "fr").text == ""


def test_a_board_that_is_old_is_not_called_live() -> None:
    catalog = sample_catalog()
    assert board_view(catalog, SLUG, now=NOW, language="en").condition == "live"
    late = board_view(catalog, SLUG, now=NOW + 40, language="en")
    assert late.condition == "behind"
    assert late.behind_seconds > 40
    catalog.totals[SLUG] = totals(state="catching_up")
    assert board_view(catalog, SLUG, now=NOW, language="en").condition == "behind"
    catalog.totals[SLUG] = totals(state="frozen")
    assert board_view(catalog, SLUG, now=NOW + 10**6, language="en").condition == "final"


def test_the_board_counts_countries_without_the_unknown_and_the_others() -> None:
    catalog = sample_catalog()
    catalog.totals[SLUG] = totals(by_country={"FR": 90, "GB": 10, "ZZ": 5, "other": 20, "DE": 0}, public_total=125)
    view = board_view(catalog, SLUG, now=NOW, language="en")
    assert [part.key for part in view.countries] == ["FR", "GB", "ZZ"]
    assert view.country_count == 2
    assert view.other_countries == 20


def test_parts_of_a_whole_keep_the_order_of_the_contract_and_end_with_the_others() -> None:
    catalog = sample_catalog()
    catalog.totals[SLUG] = totals(
        by_kind={"other": 1, "solidarity_message": 5, "signature": 1, "drawing": 0},
        by_language={"other": 50, "en": 1, "fr": 2},
    )
    view = board_view(catalog, SLUG, now=NOW, language="en")
    assert [part.key for part in view.kinds] == ["signature", "solidarity_message", "other"]
    assert [part.key for part in view.languages] == ["fr", "en", "other"]


def test_the_board_shows_each_correction_and_how_many_were_withdrawn() -> None:
    catalog = sample_catalog()
    catalog.totals[SLUG] = totals(corrections=[correction()], withdrawn=3)
    view = board_view(catalog, SLUG, now=NOW, language="en")
    assert view.corrections == (correction(),)
    assert view.withdrawn == 3


EVIDENCE = ("confirmed", "recorded", "self_reported", "offline")


@given(
    st.fixed_dictionaries({key: st.integers(0, 10**9) for key in EVIDENCE}),
    st.sets(st.sampled_from(EVIDENCE), min_size=1),
)
def test_the_bar_of_evidence_holds_only_what_is_public_and_never_overflows(
    counts: dict[str, int], public: set[str]
) -> None:
    parts = evidence_parts(counts, tuple(public))
    assert {part.key: part.count for part in parts} == counts
    end = 0.0
    for part in parts:
        if part.public:
            assert float(part.start) + 0.11 >= end
            end = float(part.start) + float(part.width)
            assert end <= 100.1


def test_thanks_propose_the_case_with_the_fewest_acts_but_never_the_same_again() -> None:
    view = thanks_view(
        sample_catalog(),
        "the-three-of-birgu",
        kind="signature",
        receipt="r",
        status_address="/v1/signatures/r",
        counted=False,
        as_of=None,
        now=NOW,
        language="en",
    )
    assert view.next is not None
    assert view.next.slug == "nurses-of-kayanza"


def test_a_link_shows_what_its_token_lists_as_far_as_it_is_known() -> None:
    view = token_view(
        sample_catalog(), [(CASE, "signature"), ("gone", "signature")], action="/confirm/t", now=NOW, language="en"
    )
    assert [line.case.slug for line in view.acts] == [CASE]
    assert view.kinds == "signatures"
    assert token_view(SampleCatalog(), [("gone", "letter")], action="/c", now=NOW, language="en").acts == ()


def test_a_form_that_came_back_lists_each_field_once_in_the_order_of_the_page() -> None:
    form = FormState(
        {"email": "ana", "updates": "on", "public_name": "false"},
        [("/consent/privacy", "consent.privacy.required"), ("/email", "email.invalid"), ("/email", "email.too-long")],
    )
    assert [(problem.name, problem.code) for problem in form.problems()] == [
        ("email", "email.invalid"),
        ("privacy", "consent.privacy.required"),
    ]
    assert form.value("email") == "ana"
    assert form.value("given_name") == ""
    assert form.ticked("updates")
    assert not form.ticked("public_name")
    assert not form.ticked("privacy")

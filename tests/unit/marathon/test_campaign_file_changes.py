"""The changes that importing a campaign file again makes, and those that it must not make."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.marathon.domain.campaign_changes import ImportPlan, StoredCampaign, conflicts, plan
from services.marathon.domain.campaign_file import CampaignFile, parse_campaign_file
from shared.events.marathon import CaseChanged, Contact

TEXT = """\
campaign:
  slug: w4r
  title: {en: Write}
  opens: 2026-11-20T01:00:00+01:00
  closes: 2027-01-01T00:00:00Z
  languages: [en]
cases:
  - slug: ana
    name: Ana
    country: FR
    status: detained
    story: {en: "Her story"}
    petition: {slug: free-ana, title: {en: Free Ana}, text: {en: We ask}}
  - slug: bo
    name: Bo
    country: BE
    status: detained
    story: {en: "His story"}
"""


def file_of(text: str) -> CampaignFile:
    return parse_campaign_file(text)[0]


def stored_after(changes: ImportPlan, before: StoredCampaign | None = None) -> StoredCampaign:
    cases: dict[str, CaseChanged] = dict(before.cases) if before else {}
    cases |= {case.slug: case for case in changes.cases}
    petitions = {case.petition.slug: case.slug for case in cases.values() if case.petition}
    return StoredCampaign(campaign=changes.campaign, cases=cases, petitions=petitions)


FIRST = plan(file_of(TEXT), StoredCampaign())
STORED = stored_after(FIRST)


def paths(text: str, stored: StoredCampaign) -> list[tuple[str, str]]:
    return [(".".join(map(str, path)), advice) for path, advice in conflicts(file_of(text), stored)]


def test_a_first_import_gives_everything_version_one() -> None:
    assert FIRST.campaign.version == 1
    assert {case.slug: case.version for case in FIRST.cases} == {"ana": 1, "bo": 1}
    assert FIRST.campaign.opens == "2026-11-20T00:00:00.000Z"
    assert FIRST.campaign.confirmations_close == "2027-01-08T00:00:00.000Z"
    assert FIRST.campaign.cases == ("ana", "bo")
    assert [case.petition.slug for case in FIRST.cases if case.petition] == ["free-ana"]


def test_paper_comes_in_for_sixty_days_unless_the_file_says_otherwise_and_longer_than_confirmations() -> None:
    def closing(fields: str) -> tuple[str | None, str | None]:
        campaign = plan(file_of(TEXT.replace("languages:", f"{fields}\n  languages:")), StoredCampaign()).campaign
        return campaign.tallies_close, campaign.sealed_until

    assert closing("") == ("2027-03-02T00:00:00.000Z", None)
    assert closing("confirmations_close: 2027-04-01T00:00:00Z")[0] == "2027-04-01T00:00:00.000Z"
    given = "tallies_close: 2027-02-01T00:00:00+01:00\n  sealed_until: 2028-12-31"
    assert closing(given) == ("2027-01-31T23:00:00.000Z", "2028-12-31")
    assert closing("sealed_until: 2027-01-09")[1] == "2027-01-09"


def test_importing_the_same_again_changes_nothing() -> None:
    again = plan(file_of(TEXT), STORED)
    assert not again.changed
    assert again.cases == ()
    assert again.campaign == FIRST.campaign


def test_a_changed_case_raises_its_own_version_and_the_campaigns() -> None:
    changes = plan(file_of(TEXT.replace("His story", "His long story")), STORED)
    assert changes.campaign.version == 2
    assert [(case.slug, case.version) for case in changes.cases] == [("bo", 2)]


def test_a_contact_is_part_of_the_campaign() -> None:
    contact = "contact: {email: write@ngo.example, address: [1 Example Street], imprint: {en: Registered}}"
    changes = plan(file_of(TEXT.replace("languages: [en]", f"languages: [en]\n  {contact}")), STORED)
    assert (changes.campaign.version, changes.cases) == (2, ())
    assert changes.campaign.contact == Contact(
        email="write@ngo.example", address=("1 Example Street",), imprint={"en": "Registered"}
    )


def test_a_changed_campaign_leaves_its_cases_alone() -> None:
    changes = plan(file_of(TEXT.replace("en: Write", "en: Write now")), STORED)
    assert (changes.campaign.version, changes.cases) == (2, ())


def test_another_text_before_the_campaign_opens_is_the_next_version_by_itself() -> None:
    text = TEXT.replace("We ask", "We demand")
    assert paths(text, STORED) == []
    changes = plan(file_of(text), STORED)
    (case,) = changes.cases
    assert case.petition is not None
    assert (case.petition.version, case.petition.text) == (2, {"en": "We demand"})
    assert not plan(file_of(text), stored_after(changes, STORED)).changed


def test_no_file_gives_a_version_another_text() -> None:
    text = TEXT.replace("{slug: free-ana,", "{slug: free-ana, version: 1,")
    assert paths(text, STORED) == []
    changed = text.replace("We ask", "We demand")
    assert [path for path, _ in paths(changed, STORED)] == ["cases.0.petition.text"]


@pytest.mark.parametrize("signable", [replace(STORED, cases_with_actions={"ana"}), replace(STORED, opened=True)])
def test_a_text_that_people_can_have_signed_needs_a_new_version(signable: StoredCampaign) -> None:
    text = TEXT.replace("We ask", "We demand")
    assert [path for path, _ in paths(text, signable)] == ["cases.0.petition.text"]
    assert "version: 2" in paths(text, signable)[0][1]
    assert paths(text.replace("{slug: free-ana,", "{slug: free-ana, version: 2,"), signable) == []


def test_a_file_without_a_version_keeps_the_one_there_is() -> None:
    second = plan(file_of(TEXT.replace("{slug: free-ana,", "{slug: free-ana, version: 2,")), STORED)
    stored = stored_after(second, STORED)
    assert not plan(file_of(TEXT), stored).changed
    lower = TEXT.replace("{slug: free-ana,", "{slug: free-ana, version: 1,")
    assert [path for path, _ in paths(lower, stored)] == ["cases.0.petition.version"]


@pytest.mark.parametrize("signable", [replace(STORED, cases_with_actions={"ana"}), replace(STORED, opened=True)])
def test_a_petition_that_people_can_have_signed_cannot_be_taken_away_or_renamed(signable: StoredCampaign) -> None:
    assert [path for path, _ in paths(TEXT.replace("free-ana", "free-her"), signable)] == ["cases.0.petition"]
    assert paths(TEXT.replace("free-ana", "free-her"), STORED) == []


WITH_ADDRESS = TEXT.replace("name: Bo\n", "name: Bo\n    address: {lines: [Bo, Station 1], language: en}\n")


def test_an_address_names_the_version_of_the_case_in_which_it_came() -> None:
    stored = STORED
    for version, text in enumerate(
        (
            WITH_ADDRESS,
            WITH_ADDRESS.replace("Station 1", "Station 2"),
            WITH_ADDRESS.replace("language: en}", "language: en, country: FR}"),
            TEXT,
            WITH_ADDRESS,
        ),
        start=2,
    ):
        changes = plan(file_of(text), stored)
        (case,) = changes.cases
        assert (case.version, case.address and case.address.version) == (version, version if text != TEXT else None)
        stored = stored_after(changes, stored)
    assert not plan(file_of(WITH_ADDRESS), stored).changed


def test_an_address_that_stays_keeps_its_version_while_the_case_changes() -> None:
    stored = stored_after(plan(file_of(WITH_ADDRESS), STORED), STORED)
    ruled = WITH_ADDRESS.replace("name: Bo\n", "name: Bo\n    writing: {rules: {en: [At most 2 pages]}}\n")
    (case,) = plan(file_of(ruled), stored).cases
    assert case.address is not None
    assert (case.version, case.address.version, case.address.country) == (3, 2, "BE")
    assert case.writing is not None
    assert case.writing.rules == {"en": ("At most 2 pages",)}


def test_slugs_belong_to_one_campaign() -> None:
    other = TEXT.replace("slug: w4r", "slug: another")
    stored = StoredCampaign(cases=STORED.cases, petitions=STORED.petitions)
    assert [path for path, _ in paths(other, stored)] == ["cases.0.slug", "cases.1.slug"]
    renamed = other.replace("slug: ana", "slug: anna").replace("slug: bo", "slug: bob")
    assert [path for path, _ in paths(renamed, stored)] == ["cases.0.petition.slug"]


def test_a_case_that_was_imported_cannot_be_left_out() -> None:
    assert [path for path, _ in paths(TEXT[: TEXT.index("  - slug: bo")], STORED)] == ["cases"]


@pytest.mark.parametrize("stored", [replace(STORED, cases_with_actions={"ana"}), replace(STORED, opened=True)])
def test_who_counts_as_one_cannot_change_once_people_can_have_acted(stored: StoredCampaign) -> None:
    text = TEXT.replace("languages: [en]", "languages: [en]\n  policies: {one_per: email_and_name}")
    assert paths(text, STORED) == []
    assert [path for path, _ in paths(text, stored)] == ["campaign.policies.one_per"]


def test_the_window_of_a_closed_campaign_cannot_change() -> None:
    closed = replace(STORED, closed=True)
    extended = dict(paths(TEXT.replace("2027-01-01", "2027-02-01"), closed))
    assert extended.keys() == {"campaign.closes", "campaign.confirmations_close"}
    assert 'put "2027-01-01T00:00:00.000Z" back' in extended["campaign.closes"]
    assert paths(TEXT.replace("en: Write", "en: Wrote"), closed) == []


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("public_evidence", "[confirmed]", 'put ["confirmed","recorded","offline"] back'),
        ("public_threshold", "20", "put 10 back"),
        ("safety_mode", "true, confirmation: required, public_evidence: [confirmed]", "put false back"),
    ],
)
def test_what_a_closed_campaign_counts_and_shows_cannot_change(name: str, value: str, advice: str) -> None:
    text = TEXT.replace("languages: [en]", f"languages: [en]\n  policies: {{{name}: {value}}}")
    assert paths(text, STORED) == []
    assert advice in dict(paths(text, replace(STORED, closed=True)))[f"campaign.policies.{name}"]


def test_required_confirmation_makes_only_confirmed_and_offline_public_by_default() -> None:
    text = TEXT.replace("languages: [en]", "languages: [en]\n  policies: {confirmation: required}")
    assert plan(file_of(text), StoredCampaign()).campaign.policies.public_evidence == ("confirmed", "offline")
    assert FIRST.campaign.policies.public_evidence == ("confirmed", "recorded", "offline")

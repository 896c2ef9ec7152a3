"""Campaign files: what they may contain, and how faults are reported."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import yaml

from services.marathon.domain.campaign_file import CampaignFileError, parse_campaign_file
from services.marathon.domain.yaml_lines import parse
from shared.counting.event_decoder import EventDecoder
from shared.countries import COUNTRIES, UNKNOWN
from shared.errors import PermanentError
from shared.events.values import MAX_PETITION_VERSION
from shared.topics import SIGNATURES
from tests.support.counting import signature

PROJECT = Path(__file__).parents[3]
EXAMPLES = [*PROJECT.glob("deploy/examples/*.yaml"), *PROJECT.glob("docs/examples/*.yaml")]

GOOD = """\
campaign:
  slug: w4r-2026
  title: {en: Write for Rights 2026, fr: Marathon des lettres 2026}
  opens: 2026-11-20T00:00:00Z
  closes: 2027-01-01T00:00:00Z
  goal: 6500000
  languages: [en, fr]
  policies: {one_per: email, confirmation: optional,  # none | optional | required
             public_evidence: [confirmed, recorded, offline], public_threshold: 10}
  sections:
    - {slug: norge, name: Norge, countries: [NO, SJ]}
cases:
  - slug: khaled-drareni
    name: Khaled Drareni
    country: DZ
    status: detained
    story: {en: "A journalist.", fr: "Un journaliste."}
    petition: {slug: free-khaled, title: {en: "Free Khaled"}, text: {en: "We ask"}, targets: [{name: "The minister"}]}
"""


def faults(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(CampaignFileError) as caught:
        parse_campaign_file(text)
    return [(line, ".".join(map(str, path)), advice) for line, path, advice in caught.value.faults]


def changed(before: str, after: str) -> str:
    assert before in GOOD
    return GOOD.replace(before, after)


def test_a_good_file_is_read_with_its_defaults() -> None:
    file, _ = parse_campaign_file(GOOD)
    assert file.campaign.slug == "w4r-2026"
    assert file.campaign.policies.letters_per_person == 5
    assert file.campaign.sections[0].countries == ["NO", "SJ"]
    assert file.cases[0].petition is not None
    assert file.cases[0].accepts_messages


def test_the_same_as_json_is_read_alike() -> None:
    data = yaml.load(GOOD, yaml.BaseLoader)  # noqa: S506  it makes nothing but text
    data["campaign"]["goal"] = 6500000
    data["campaign"]["policies"]["public_threshold"] = 10
    assert parse_campaign_file(json.dumps(data, indent="\t"))[0] == parse_campaign_file(GOOD)[0]


def test_norway_is_a_country_and_times_are_text() -> None:
    value = parse("a: NO\nb: 2026-11-20T00:00:00Z\nc: yes\nd: true\ne: 7\nf: ~\n").value
    assert value == {"a": "NO", "b": "2026-11-20T00:00:00Z", "c": "yes", "d": True, "e": 7, "f": None}


def test_every_fault_is_told_at_once_with_its_line() -> None:
    wrong = (
        changed("slug: w4r-2026", "slug: W4R 2026")
        .replace("closes: 2027-01-01T00:00:00Z", "closes: tomorrow")
        .replace("country: DZ", "country: XX\n    contry: DZ")
        .replace("    name: Khaled Drareni\n", "")
        .replace("goal: 6500000", "goal: many")
    )
    assert faults(wrong) == [
        (2, "campaign.slug", "must be a slug: lower-case letters, digits and hyphens, at most 80"),
        (5, "campaign.closes", "must be a time with an offset, such as 2026-11-20T00:00:00Z"),
        (6, "campaign.goal", "must be a whole number"),
        (13, "cases.0.name", "is missing: add it"),
        (14, "cases.0.country", "must be a country: two capital letters of ISO 3166-1, or XK"),
        (15, "cases.0.contry", "is not a field here: did you mean country?"),
    ]


def test_required_confirmation_with_recorded_in_public_evidence_is_refused() -> None:
    (fault,) = faults(changed("confirmation: optional", "confirmation: required"))
    assert fault[:2] == (9, "campaign.policies.public_evidence")


def test_required_confirmation_alone_makes_only_confirmed_actions_public() -> None:
    policies = changed(
        "{one_per: email, confirmation: optional,  # none | optional | required\n"
        "             public_evidence: [confirmed, recorded, offline], public_threshold: 10}",
        "{confirmation: required}",
    )
    assert parse_campaign_file(policies)[0].campaign.policies.public_evidence is None


def test_the_largest_version_that_is_taken_is_the_largest_that_can_be_counted() -> None:
    def with_version(version: int) -> str:
        return changed("{slug: free-khaled,", f"{{slug: free-khaled, version: {version},")

    def signed(version: int) -> bytes:
        return msgspec.json.encode(signature("ana", petition_version=version))

    counted = EventDecoder(SIGNATURES)
    parse_campaign_file(with_version(MAX_PETITION_VERSION))
    assert counted.decode_submission(signed(MAX_PETITION_VERSION)).petition_version == MAX_PETITION_VERSION
    assert [fault[1] for fault in faults(with_version(MAX_PETITION_VERSION + 1))] == ["cases.0.petition.version"]
    with pytest.raises(PermanentError):
        counted.decode_submission(signed(MAX_PETITION_VERSION + 1))


@pytest.mark.parametrize(
    ("policies", "path"),
    [
        ("{safety_mode: true}", "campaign.policies.safety_mode"),
        ("{safety_mode: true, confirmation: required, public_threshold: 5}", "campaign.policies.public_threshold"),
        ("{public_evidence: []}", "campaign.policies.public_evidence"),
        ("{public_evidence: [recorded, offline]}", "campaign.policies.public_evidence"),
        ("{public_evidence: [confirmed, confirmed]}", "campaign.policies.public_evidence.1"),
        ("{public_evidence: [assumed]}", "campaign.policies.public_evidence.0"),
        ("{public_threshold: 0}", "campaign.policies.public_threshold"),
        ("{letters_per_person: 2.5}", "campaign.policies.letters_per_person"),
        ("{one_per: person}", "campaign.policies.one_per"),
        ("{confirmation: true}", "campaign.policies.confirmation"),
    ],
)
def test_policies_that_contradict_one_another_or_themselves_are_refused(policies: str, path: str) -> None:
    start, end = GOOD.index("{one_per"), GOOD.index("  sections:")
    assert [fault[1] for fault in faults(GOOD[:start] + policies + "\n" + GOOD[end:])] == [path]


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        ("closes: 2027-01-01T00:00:00Z", "closes: 2026-11-20T00:00:00Z", "campaign.closes"),
        ("goal: 6500000", "confirmations_close: 2026-12-31T00:00:00Z", "campaign.confirmations_close"),
        ("goal: 6500000", "tallies_close: 2027-01-07T23:59:59Z", "campaign.tallies_close"),
        (
            "goal: 6500000",
            "confirmations_close: 2027-05-01T00:00:00Z\n  tallies_close: 2027-04-01T00:00:00Z",
            "campaign.tallies_close",
        ),
        ("goal: 6500000", "tallies_close: 2027-02-30T00:00:00Z", "campaign.tallies_close"),
        ("goal: 6500000", "sealed_until: 2027-01-08", "campaign.sealed_until"),
        ("goal: 6500000", "sealed_until: 2028-12-31T00:00:00Z", "campaign.sealed_until"),
        ("goal: 6500000", "sealed_until: '20281231'", "campaign.sealed_until"),
        ("goal: 6500000", "sealed_until: 2028-02-30", "campaign.sealed_until"),
        ("[en, fr]", "[ar]", "campaign.title"),
        ("[en, fr]", "[en, fr, en]", "campaign.languages.2"),
        ("[NO, SJ]", "[NO, NO]", "campaign.sections.0.countries.1"),
        ("slug: norge", "slug: none", "campaign.sections.0.slug"),
        ("slug: khaled-drareni", "slug: other", "cases.0.slug"),
        ("slug: khaled-drareni", "slug: 2026", "cases.0.slug"),
        ('en: "We ask"', 'en: ""', "cases.0.petition.text.en"),
        ('en: "We ask"', 'english: "We ask", en: "We ask"', "cases.0.petition.text.english"),
        ('en: "A journalist."', 'en: "A\\u0007"', "cases.0.story.en"),
        ("status: detained", "status: [detained]", "cases.0.status"),
    ],
)
def test_each_other_fault_is_told_where_it_stands(before: str, after: str, path: str) -> None:
    assert path in [fault[1] for fault in faults(changed(before, after))]


def test_a_campaign_has_up_to_ten_thousand_cases() -> None:
    good = parse(GOOD).value
    assert isinstance(good, dict)
    case = {"name": "A", "country": "DZ", "status": "detained", "story": {"en": "A journalist."}}
    cases = [{**case, "slug": f"case-{number}"} for number in range(10_001)]
    [fault] = faults(json.dumps({**good, "cases": cases}))
    assert fault[1:] == ("cases", "must have at most 10000 items, not 10001")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ("address: {lines: [], language: en}", "cases.0.address.lines"),
        ("address: {lines: [a]}", "cases.0.address.language"),
        ('address: {lines: ["a\\nb"], language: en}', "cases.0.address.lines.0"),
        ("address: {lines: [a], language: en, country: XX}", "cases.0.address.country"),
        ("address: {lines: [a], language: en, town: b}", "cases.0.address.town"),
        ("address: {lines: [a], language: en}\n    accepts_messages: false", "cases.0.address"),
        ("address: nowhere", "cases.0.address"),
        ("writing: {languages: [ru, ru]}", "cases.0.writing.languages.1"),
        ("writing: {rules: {ar: [a]}}", "cases.0.writing.rules"),
        ("writing: {rules: {en: []}}", "cases.0.writing.rules.en"),
        ("writing: {rules: {en: one}}", "cases.0.writing.rules.en"),
    ],
)
def test_a_faulty_address_or_rule_is_told_with_its_line(fields: str, path: str) -> None:
    text = changed("    status: detained\n", f"    {fields}\n    status: detained\n")
    (line,) = {line for line, fault_path, _ in faults(text) if fault_path == path}
    assert text.splitlines()[line - 1].strip().startswith(fields.partition(":")[0])


@pytest.mark.parametrize(
    ("contact", "path"),
    [
        ("{email: nowhere}", "campaign.contact.email"),
        ('{address: ["a\\nb"]}', "campaign.contact.address.0"),
        ("{imprint: {ar: a}}", "campaign.contact.imprint"),
        ("{privacy: {en: 'javascript:alert(1)'}}", "campaign.contact.privacy.en"),
        ("{privacy: {en: 'https://a b'}}", "campaign.contact.privacy.en"),
        ("{telephone: 1}", "campaign.contact.telephone"),
    ],
)
def test_a_faulty_contact_is_told_with_its_line(contact: str, path: str) -> None:
    reported = faults(changed("  opens:", f"  contact: {contact}\n  opens:"))
    assert [(line, fault_path) for line, fault_path, _ in reported] == [(4, path)]


def test_two_cases_need_two_slugs_and_two_petitions() -> None:
    case = GOOD[GOOD.index("  - slug: khaled") :]
    assert [fault[1] for fault in faults(GOOD + case)] == ["cases.1.slug", "cases.1.petition.slug"]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("", 1, "missing"),
        ("[]", 1, "missing"),
        ("a: b: c", 1, "not YAML"),
        ("campaign:\n\t- a", 2, "not YAML"),
        ('{\n"campaign": {,}}', 2, "not JSON"),
        ("a: &x 1\nb: *x", 1, "anchors"),
        ("a: !!python/object:os.system ls", 1, "type of its own"),
        ("campaign: {slug: a, slug: b}", 1, "twice"),
        ("\x00", 1, "characters"),
        ("a: " + "[" * 5000, 1, "deeply"),
        ("a: " + "[" * 40 + "]" * 40, 1, "deeply"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", 1, "deeply"),
        ("? [a, b]\n: c", 1, "no text"),
    ],
)
def test_what_is_no_plain_data_is_refused_with_a_reason(text: str, line: int, word: str) -> None:
    assert any(fault[0] == line and word in fault[2] for fault in faults(text))


def test_half_a_character_is_refused() -> None:
    data = json.dumps({"campaign": {"slug": "a", "title": {"en": "\ud83d"}}, "cases": []})
    assert any("surrogate" in fault[2] for fault in faults(data))


def test_countries_are_those_of_the_standard_and_kosovo() -> None:
    countries = COUNTRIES - {UNKNOWN}
    assert len(countries) == 250
    assert {"XK", "AQ", "PS", "TW", "EH", "NO"} <= countries
    assert not countries & {"ZZ", "EU", "UK", "XA", "AN"}


def test_a_case_has_a_country_that_is_known() -> None:
    for country in ("ZZ", "EU", "dz"):
        assert [path for _, path, _ in faults(changed("country: DZ", f"country: {country}"))] == ["cases.0.country"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_can_be_imported(example: Path) -> None:
    assert parse_campaign_file(example.read_text())[0].cases

"""Languages: the choice for a page, and the completeness of every offered one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel.messages.pofile import write_po
from hypothesis import given
from hypothesis import strategies as st

from deploy.mille.translations import FOLDERS, extract, update
from shared.web.formats import formats_for
from shared.web.languages import (
    Language,
    available_languages,
    is_complete,
    load_messages,
    load_translations,
    negotiate_language,
    offered_languages,
)

TRANSLATED = [code for code in offered_languages() if code != "en"]
PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@pytest.mark.parametrize(
    ("chosen", "accepted", "campaign", "language"),
    [
        (None, None, ("en", "fr"), Language("en")),
        (None, "fr-CA,fr;q=0.9,en;q=0.5", ("en", "fr"), Language("fr")),
        (None, "en;q=0.2, fr;q=0.8", ("en", "fr"), Language("fr")),
        (None, "fr;q=0, en", ("fr", "en"), Language("en")),
        (None, "fr", ("en",), Language("en")),
        (None, "de, ru", ("fr", "en"), Language("fr")),
        ("fr", "en", ("en", "fr"), Language("fr", chosen=True)),
        ("fr", "en", ("en",), Language("en")),
        ("../fr", "fr", ("en", "fr"), Language("fr")),
        (None, "fr", ("ru", "be"), Language("en")),
        (None, "fr", (), Language("fr")),
    ],
)
def test_the_address_wins_then_the_browser_then_the_campaign(
    chosen: str | None, accepted: str | None, campaign: tuple[str, ...], language: Language
) -> None:
    assert negotiate_language(chosen=chosen, accept_language=accepted, languages=campaign) == language


@given(
    chosen=st.none() | st.text(max_size=20),
    accepted=st.none() | st.text(max_size=300) | st.from_regex(r"([a-z]{2};q=0\.\d,){0,30}"),
    campaign=st.lists(st.sampled_from(["en", "fr", "ru", "ar", "xx"]), max_size=4),
)
def test_whatever_is_asked_for_a_page_has_an_available_language(
    chosen: str | None, accepted: str | None, campaign: list[str]
) -> None:
    assert negotiate_language(chosen=chosen, accept_language=accepted, languages=campaign).code in available_languages(
        campaign
    )


def test_english_and_french_are_offered() -> None:
    assert offered_languages()[0] == "en"
    assert "fr" in offered_languages()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("code", TRANSLATED)
def test_an_offered_language_has_every_sentence_of_every_service(code: str, folder: Path) -> None:
    sentences = {message.id for message in extract(folder)}
    if sentences == {""}:
        return
    messages = load_messages(code, folder / "translations")
    assert {message.id for message in messages} == sentences
    assert is_complete(messages)


def test_a_sentence_in_a_template_of_a_service_is_found_and_given_to_its_translators(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    template = '{{ _("A sentence") }}{{ ngettext("%(num)s stamp", "%(num)s stamps", 2) }}'
    (tmp_path / "templates" / "stamps.html").write_text(template)
    catalogues = tmp_path / "translations"
    assert update(catalogues, "fr", extract(tmp_path)) == 2
    file = catalogues / "fr" / "LC_MESSAGES" / "messages.po"
    file.write_text(
        file.read_text().replace('msgid "A sentence"\nmsgstr ""', 'msgid "A sentence"\nmsgstr "Une phrase"')
    )
    assert update(catalogues, "fr", extract(tmp_path)) == 1
    assert load_translations("fr", catalogues).gettext("A sentence") == "Une phrase"
    (tmp_path / "templates" / "stamps.html").write_text('{{ _("A short sentence") }}')
    assert update(catalogues, "fr", extract(tmp_path)) == 1, "a translation that may not fit counted as one"
    assert "Une phrase" in file.read_text()


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_translation_fills_in_what_the_sentence_fills_in(code: str) -> None:
    for message in load_messages(code):
        if not message.id:
            continue
        sources = (message.id,) if isinstance(message.id, str) else tuple(message.id)
        forms = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
        names = {name for source in sources for name in PLACEHOLDER.findall(source)}
        assert all(set(PLACEHOLDER.findall(form)) <= names for form in forms), message.id
        assert set(PLACEHOLDER.findall(forms[-1])) == names, message.id


def test_a_language_with_a_missing_or_doubtful_sentence_is_not_offered(tmp_path: Path) -> None:
    po_file = tmp_path / "fr" / "LC_MESSAGES" / "messages.po"
    po_file.parent.mkdir(parents=True)
    messages = load_messages("fr")
    assert is_complete(messages)
    message = next(candidate for candidate in messages if candidate.id == "Your data")
    message.flags.add("fuzzy")
    assert not is_complete(messages)
    message.flags.clear()
    message.string = ""
    with po_file.open("wb") as file:
        write_po(file, messages)
    assert not is_complete(load_messages("fr", tmp_path))


@pytest.mark.parametrize(
    ("code", "number", "goal", "share", "day"),
    [
        ("en", "5,154,004", "6.5 million", "< 1%", "1 December 2026"),
        ("fr", "5\u202f154\u202f004", "6,5 millions", "< 1\u00a0%", "1 décembre 2026"),
    ],
)
def test_numbers_and_days_are_written_as_the_language_has_them(
    code: str, number: str, goal: str, share: str, day: str
) -> None:
    language_formats = formats_for(code)
    assert language_formats.number(5_154_004) == number
    assert language_formats.round_number(6_500_000) == goal
    assert language_formats.share(1, 1_000) == share
    assert language_formats.date("2026-12-01T12:00:00Z") == day


def test_a_goal_that_is_not_round_is_written_in_full() -> None:
    assert formats_for("en").round_number(6_543_210) == "6,543,210"


@given(part=st.integers(0, 10**9), whole=st.integers(1, 10**9))
def test_a_share_is_never_rounded_up(part: int, whole: int) -> None:
    text = formats_for("en").share(part, whole)
    if text.startswith("<"):
        assert 0 < part * 100 < whole
    else:
        assert int(text.rstrip("%").replace(",", "")) == part * 100 // whole


def test_there_is_a_name_for_every_country_in_the_list_and_nothing_else() -> None:
    codes = [code for code, _ in formats_for("fr").countries()]
    assert len(codes) == len(set(codes)) == 250
    assert {"XK", "TW", "PS", "EH", "AQ"} <= set(codes)
    assert not {"EU", "ZZ", "AC", "IC"} & set(codes)


def test_every_plural_category_has_a_number_that_takes_it() -> None:
    assert {category for category, _ in formats_for("ru").plural_examples()} >= {"one", "few", "many"}
    assert {category for category, _ in formats_for("ar").plural_examples()} == {
        "zero",
        "one",
        "two",
        "few",
        "many",
        "other",
    }


@pytest.mark.parametrize(("code", "direction"), [("en", "ltr"), ("ar", "rtl"), ("fa", "rtl"), ("nonsense", "ltr")])
def test_the_direction_follows_the_script(code: str, direction: str) -> None:
    assert Language(code).direction == direction

"""Checks of the fields of a person."""

from __future__ import annotations

import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st

from shared.countries import COUNTRIES
from shared.intake import fields
from shared.intake.languages import LANGUAGES, language_of


@pytest.mark.parametrize(
    "name",
    [
        "Ana",
        "O'Brien",
        "J.R.R. Tolkien",
        "St.John",
        "Müller-Lüdenscheidt",
        "نوری\u200cزاد",
        "Zoë",
        "X Æ A",
        "李",
        "N/A",
    ],
)
def test_a_name_of_a_person_is_taken(name: str) -> None:
    assert fields.name(name) is None


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("   ", "empty"),
        ("\u00a0", "empty"),
        ("=1+1", "formula"),
        ("  =1+1", "formula"),
        ("+49", "formula"),
        ("-2", "formula"),
        ("@ana", "formula"),
        ("ana@example.org", "link"),
        ("http://example.org", "link"),
        ("Win at spam.com", "link"),
        ("www.example", "link"),
        ("bit.ly/abc", "link"),
        ("a\x00b", "control-character"),
        ("a\nb", "control-character"),
        ("\tAna", "control-character"),
        ("a\x7fb", "control-character"),
        ("a\x85b", "control-character"),
        ("evil\u202egnp.exe", "control-character"),
        ("a\u2028b", "control-character"),
    ],
)
def test_a_name_that_is_none_is_refused_with_a_word(name: str, word: str) -> None:
    assert fields.name(name) == word


@given(st.text(max_size=100))
def test_a_name_that_is_taken_starts_no_formula_and_has_no_control_character(name: str) -> None:
    if fields.name(name) is None:
        assert name.strip()[0] not in "=+-@"
        assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in name)


@pytest.mark.parametrize(
    "address",
    [
        "ana@example.org",
        "a.b+c@sub.example.org",
        "o'brien@example.ie",
        "ana@münchen.de",
        "ana@xn--mnchen-3ya.de",
        "иван@пример.рф",
        "a" * 64 + "@example.org",
        "a@" + ".".join(["d" * 60] * 4)[:240] + ".org",
    ],
)
def test_an_address_that_mail_can_reach_is_taken(address: str) -> None:
    assert fields.email(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ana",
        "ana@",
        "@example.org",
        "ana@example",
        "ana@.org",
        "ana@example..org",
        "ana@example.org.",
        ".ana@example.org",
        "a..b@example.org",
        "ana @example.org",
        "ana@exa mple.org",
        '"ana"@example.org',
        "ana@[192.0.2.1]",
        "ana@192.0.2.1",
        "ana@-example.org",
        "ana@exa_mple.org",
        "a" * 65 + "@example.org",
        "é" * 33 + "@example.org",
        "ana@xn--a.org",
        "ana@\u2024example.org",
        "ana\x00@example.org",
        "ana@example.org\n",
    ],
)
def test_an_address_that_no_mail_reaches_is_refused(address: str) -> None:
    assert fields.email(address) == "invalid"


def test_an_address_may_have_254_characters_and_no_more() -> None:
    domain = ".".join(["d" * 63, "e" * 63, "f" * 57]) + ".org"
    fits = "a" * (254 - len(domain) - 1) + "@" + domain
    assert len(fits) == 254
    assert fields.email(fits) is None
    assert fields.email("a" + fits) == "invalid"


@given(st.text(max_size=300))
def test_no_text_makes_the_address_check_fail(address: str) -> None:
    assert fields.email(address) in (None, "invalid")


def test_the_countries_are_those_of_iso_3166_and_two_more() -> None:
    assert len(COUNTRIES - {"XK", "ZZ"}) == 249
    assert set(Locale("en").territories) >= COUNTRIES
    assert fields.country("FR") is None
    assert fields.country(None) is None
    assert [fields.country(code) for code in ("fr", "QQ", "FRA", "", "F", "EU")] == ["unknown"] * 6


@pytest.mark.parametrize(
    ("locale", "language"),
    [("fr", "fr"), ("pt-BR", "pt"), ("pt_BR", "pt"), ("zh-Hans-CN", "zh"), ("es-419", "es"), ("be", "be")],
)
def test_a_locale_has_a_language(locale: str, language: str) -> None:
    assert language_of(locale) == language


@pytest.mark.parametrize("locale", ["", "xx", "FR", "fr-", "fr-france", "und", "zxx", "fr-FR-x", "en" * 5_000])
def test_an_unknown_locale_is_refused(locale: str) -> None:
    assert fields.locale(locale) == "unknown"


def test_the_languages_of_the_pages_are_known() -> None:
    assert {"en", "fr", "ru", "be", "ar"} <= LANGUAGES


def test_several_lines_may_hold_line_ends_and_nothing_else_unseen() -> None:
    assert fields.lines("one\r\ntwo\tthree\n\nfour") is None
    assert fields.line("one\ntwo") == "control-character"
    assert fields.lines("bell\x07") == "control-character"
    assert fields.lines("null\x00") == "control-character"

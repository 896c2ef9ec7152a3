"""Which addresses are the same mailbox."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.privacy.addresses import RULES, canonical_address

VERSION = "2026-11"

local_parts = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20)
plain_domains = st.sampled_from(["example.org", "ngo.example", "post.example.net"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Ana.Diaz@gmail.com", "anadiaz+petition@googlemail.com"),
        ("ana@EXAMPLE.org", "ana@example.org"),
        ("ana@bücher.example", "ana@xn--bcher-kva.example"),
        ("ana@BÜCHER.example", "ana@bücher.example"),
        ("ana+x@outlook.com", "ana@outlook.com"),
        ("a.n_a-b@proton.me", "anab@protonmail.com"),
        ("ana@me.com", "ana@icloud.com"),
        ("ａｎａ@example.org", "ana@example.org"),
        ("ana@example.org.", "ana@example.org"),
    ],
)
def test_two_spellings_of_one_mailbox_are_the_same(first: str, second: str) -> None:
    assert canonical_address(first, VERSION) == canonical_address(second, VERSION)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ana.diaz@example.org", "anadiaz@example.org"),
        ("ana+x@example.org", "ana@example.org"),
        ("ana@outlook.com", "ana@hotmail.com"),
        ("a.na@outlook.com", "ana@outlook.com"),
    ],
)
def test_addresses_that_may_be_two_people_stay_apart(first: str, second: str) -> None:
    assert canonical_address(first, VERSION) != canonical_address(second, VERSION)


@pytest.mark.parametrize("text", ["", "ana", "@example.org", "ana@ex\u00adample..org\u3002", "ana@ü..example"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        canonical_address(text, VERSION)


def test_an_unknown_version_of_the_rules_is_refused() -> None:
    with pytest.raises(KeyError):
        canonical_address("ana@example.org", "1999-01")


@given(local_parts, st.one_of(plain_domains, st.sampled_from(sorted(RULES[VERSION]))))
def test_the_canonical_spelling_is_its_own(local: str, domain: str) -> None:
    once = canonical_address(f"{local}@{domain}", VERSION)
    assert canonical_address(once, VERSION) == once


@given(local_parts, local_parts, plain_domains)
def test_without_a_rule_different_local_parts_are_different_people(first: str, second: str, domain: str) -> None:
    same = canonical_address(f"{first}@{domain}", VERSION) == canonical_address(f"{second}@{domain}", VERSION)
    assert same == (first == second)

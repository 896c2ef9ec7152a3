"""Short codes: written, read aloud, typed again, and never mistaken."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import codes

NUMBERS = st.integers(0, 2**codes.BITS - 1)
SIGNS = st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@given(NUMBERS)
def test_a_code_reads_back_however_it_was_typed(number: int) -> None:
    code = codes.written(number)
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}", code)
    for typed in (code, code.lower(), code.replace("-", ""), f" {code.replace('-', ' ')} ", code.replace("0", "O")):
        assert codes.read(typed) == code


@given(st.lists(NUMBERS, min_size=2, max_size=2, unique=True))
def test_no_two_numbers_have_one_code(numbers: list[int]) -> None:
    assert len({codes.written(number) for number in numbers}) == 2


@given(number=NUMBERS, place=st.integers(0, 11), sign=SIGNS)
def test_one_wrong_sign_is_noticed(number: int, place: int, sign: str) -> None:
    signs = list(codes.written(number).replace("-", ""))
    if signs[place] != sign:
        signs[place] = sign
        with pytest.raises(ValueError, match="mistyped"):
            codes.read("".join(signs))


@given(number=NUMBERS, place=st.integers(0, 8))
def test_two_exchanged_neighbours_are_noticed(number: int, place: int) -> None:
    signs = list(codes.written(number).replace("-", ""))
    if signs[place] != signs[place + 1]:
        signs[place], signs[place + 1] = signs[place + 1], signs[place]
        with pytest.raises(ValueError, match="mistyped"):
            codes.read("".join(signs))


@pytest.mark.parametrize("text", ["", "7KQ4", "7KQ4-M2XD-9FJ4-00", "7KQ4-M2XD-9FT?", "٧KQ4-M2XD-9FJ4", "U" * 12])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="code"):
        codes.read(text)

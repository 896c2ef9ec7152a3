"""Short codes: encoding, parsing of typed codes, and detection of mistakes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import codes

NUMBERS = st.integers(0, 2**codes.BITS - 1)
SYMBOLS = st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@given(NUMBERS)
def test_a_code_reads_back_however_it_was_typed(number: int) -> None:
    code = codes.encode(number)
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}", code)
    for typed in (code, code.lower(), code.replace("-", ""), f" {code.replace('-', ' ')} ", code.replace("0", "O")):
        assert codes.parse(typed) == code


@given(st.lists(NUMBERS, min_size=2, max_size=2, unique=True))
def test_no_two_numbers_have_one_code(numbers: list[int]) -> None:
    assert len({codes.encode(number) for number in numbers}) == 2


@given(number=NUMBERS, position=st.integers(0, 11), symbol=SYMBOLS)
def test_one_wrong_sign_is_noticed(number: int, position: int, symbol: str) -> None:
    symbols = list(codes.encode(number).replace("-", ""))
    if symbols[position] != symbol:
        symbols[position] = symbol
        with pytest.raises(ValueError, match="mistyped"):
            codes.parse("".join(symbols))


@given(number=NUMBERS, position=st.integers(0, 8))
def test_two_exchanged_neighbours_are_noticed(number: int, position: int) -> None:
    symbols = list(codes.encode(number).replace("-", ""))
    if symbols[position] != symbols[position + 1]:
        symbols[position], symbols[position + 1] = symbols[position + 1], symbols[position]
        with pytest.raises(ValueError, match="mistyped"):
            codes.parse("".join(symbols))


@pytest.mark.parametrize("text", ["", "7KQ4", "7KQ4-M2XD-9FJ4-00", "7KQ4-M2XD-9FT?", "٧KQ4-M2XD-9FJ4", "U" * 12])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="code"):
        codes.parse(text)

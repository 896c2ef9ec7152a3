"""Short codes that people read from a page, a mail or a sheet of paper and type somewhere else: `7KQ4-M2XD-9FJ4`.

Twelve symbols of Crockford's base 32 (https://www.crockford.com/base32.html): ten hold 50 bits, two are check symbols.
"""

from __future__ import annotations

from typing import Final

BITS: Final = 50

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SYMBOLS: Final = 12
_GROUP: Final = 4
_CHECK_SYMBOLS: Final = 2
_PRIME: Final = 1021
"""The largest prime that two symbols can hold: any one wrong symbol and any two exchanged neighbours are noticed."""
_LOOKALIKES: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None, "\u2010": None, "\u2011": None})


def encode(number: int) -> str:
    """Return the code of a `number` of at most 50 bits."""
    symbols = _to_symbols(number, _SYMBOLS - _CHECK_SYMBOLS) + _to_symbols(number % _PRIME, _CHECK_SYMBOLS)
    return "-".join(symbols[start : start + _GROUP] for start in range(0, _SYMBOLS, _GROUP))


def parse(text: str) -> str:
    """Return the code in `text` as `encode` writes it: case, blanks and look-alike symbols do not matter.

    Raises:
        ValueError: the text is no code, or is mistyped.
    """
    symbols = text.upper().translate(_LOOKALIKES)
    if len(symbols) != _SYMBOLS or not set(symbols) <= set(_ALPHABET):
        raise ValueError("not a code")
    code = encode(_to_number(symbols[:-_CHECK_SYMBOLS]))
    if code.replace("-", "") != symbols:
        raise ValueError("mistyped")
    return code


def _to_symbols(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> 5 * digit & 31] for digit in reversed(range(length)))


def _to_number(symbols: str) -> int:
    number = 0
    for symbol in symbols:
        number = number << 5 | _ALPHABET.index(symbol)
    return number

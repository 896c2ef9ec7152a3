"""Short codes that people read from a page, a mail or a sheet of paper and type somewhere else: `7KQ4-M2XD-9FJ4`.

Twelve signs of Crockford's base 32 (https://www.crockford.com/base32.html): ten hold 50 bits, the last two check them.
"""

from __future__ import annotations

from typing import Final

BITS: Final = 50

_SIGNS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH: Final = 12
_GROUP: Final = 4
_CHECKS: Final = 2
_PRIME: Final = 1021
"""The largest prime that two signs can hold: any one wrong sign and any two exchanged neighbours are noticed."""
_MISREAD: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None, "\u2010": None, "\u2011": None})


def written(number: int) -> str:
    """The code of a `number` of at most 50 bits."""
    signs = _signs(number, _LENGTH - _CHECKS) + _signs(number % _PRIME, _CHECKS)
    return "-".join(signs[start : start + _GROUP] for start in range(0, _LENGTH, _GROUP))


def read(text: str) -> str:
    """The code in `text` as `written` writes it: case, blanks and what looks alike do not matter.

    Raises:
        ValueError: it is no code, or mistyped.
    """
    signs = text.upper().translate(_MISREAD)
    if len(signs) != _LENGTH or not set(signs) <= set(_SIGNS):
        raise ValueError("not a code")
    code = written(_number(signs[:-_CHECKS]))
    if code.replace("-", "") != signs:
        raise ValueError("mistyped")
    return code


def _signs(number: int, length: int) -> str:
    return "".join(_SIGNS[number >> 5 * place & 31] for place in reversed(range(length)))


def _number(signs: str) -> int:
    number = 0
    for sign in signs:
        number = number << 5 | _SIGNS.index(sign)
    return number

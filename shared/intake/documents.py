"""Bodies as RFC 8259 JSON in UTF-8: any other body is refused with 400, whatever its fields say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from shared.refusals import Refusal

MAX_DEPTH: Final = 16

# An unterminated string is one match to the end of the body: otherwise each of its quotes would be tried as the
# beginning of another string, in quadratic time.
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_decode: Final = msgspec.json.Decoder(float_hook=lambda _text: 0.0).decode
"""Decodes any document. No field takes a fraction, so each becomes 0.0: 1e999 is valid JSON beyond a float."""


def not_json() -> Refusal:
    """Return a 400."""
    return Refusal(400, "not-json", "The body is not JSON (RFC 8259) in UTF-8, or nested more than 16 deep.")


def check_encoding(body: bytes) -> None:
    """Make sure that `body` is UTF-8 and not too deep.

    A typed decoder checks neither in members that it does not know, but everything else of RFC 8259.

    Raises:
        Refusal: 400.
    """
    if not body.isascii():
        check_utf8(body)
    check_depth(body)


def check_utf8(body: bytes) -> None:
    """Make sure that `body` is UTF-8.

    Raises:
        Refusal: 400.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        raise not_json() from None


def check_depth(body: bytes, max_depth: int = MAX_DEPTH, apart: Sequence[bytes | msgspec.Raw] = ()) -> None:
    """Make sure that `body` is not too deep, but for its parts `apart`, which are checked one by one.

    Raises:
        Refusal: 400.
    """
    brackets = _count_brackets(body) - sum(_count_brackets(bytes(part)) for part in apart)
    if brackets > max_depth and _nesting_depth(body) > max_depth:
        raise not_json()


def _count_brackets(body: bytes) -> int:
    return body.count(b"{") + body.count(b"[")


def _nesting_depth(body: bytes) -> int:
    """Return the greatest number of arrays and objects nested in each other."""
    max_depth = depth = 0
    for match in _STRING_OR_BRACKET.finditer(body):
        token = match.group()
        if token in b"[{":
            depth += 1
            max_depth = max(max_depth, depth)
        elif token in b"]}":
            depth -= 1
    return max_depth


def parse(body: bytes) -> Any:
    """Return the document in `body`, of any shape.

    Raises:
        Refusal: 400.
    """
    check_encoding(body)
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise not_json() from None

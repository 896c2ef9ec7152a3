"""Bodies as RFC 8259 JSON in UTF-8: what is not is refused with 400, whatever its fields say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from shared.refusals import Refusal

MAX_DEPTH: Final = 16

# A string without an end is one match to the end of the body: were it none, each of its quotes would be tried again as
# the beginning of another, in quadratic time.
_OPENED: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_decode: Final = msgspec.json.Decoder(float_hook=lambda _text: 0.0).decode
"""Reads any document. Fractions are never wanted, and one like 1e999 is valid JSON all the same."""


def not_json() -> Refusal:
    """A 400."""
    return Refusal(400, "not-json", "The body is not JSON (RFC 8259) in UTF-8, or nested more than 16 deep.")


def check_encoding(body: bytes) -> None:
    """Make sure that `body` is UTF-8 and not too deep.

    A typed decoder does neither for members that it does not know; everything else of RFC 8259 it does check.

    Raises:
        Refusal: 400.
    """
    if not body.isascii():
        check_utf8(body)
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
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


def check_depth(body: bytes, deepest: int = MAX_DEPTH) -> None:
    """Make sure that nothing in `body` is nested deeper than `deepest`.

    Raises:
        Refusal: 400.
    """
    if _openings(body) > deepest and depth(body) > deepest:
        raise not_json()


def check_depth_outside(body: bytes, parts: Sequence[bytes | msgspec.Raw]) -> None:
    """As `check_depth`, for what `body` holds besides `parts`, which are checked one by one.

    Raises:
        Refusal: 400.
    """
    outside = _openings(body) - sum(_openings(bytes(part)) for part in parts)
    if outside > MAX_DEPTH and depth(body) > MAX_DEPTH:
        raise not_json()


def _openings(body: bytes) -> int:
    return body.count(b"{") + body.count(b"[")


def depth(body: bytes) -> int:
    """How many arrays and objects stand in each other at most."""
    deepest = now = 0
    for found in _OPENED.finditer(body):
        sign = found.group()
        if sign in b"[{":
            now += 1
            deepest = max(deepest, now)
        elif sign in b"]}":
            now -= 1
    return deepest


def parse(body: bytes) -> Any:
    """The document in `body`, of any shape.

    Raises:
        Refusal: 400.
    """
    check_encoding(body)
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise not_json() from None

"""JSON bodies of RFC 8259, against Python's own parser made strict."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.intake import documents
from shared.intake.requests import RequestDecoder
from shared.refusals import Refusal


class Thing(msgspec.Struct):
    name: str = ""
    more: str = ""


THING_DECODER = RequestDecoder(Thing, {"name": lambda _: None, "more": lambda _: None})


def _refuse(_constant: str) -> Any:
    raise ValueError


def is_rfc_8259(body: bytes) -> bool:
    """Whether Python's parser accepts `body`, without its extensions of RFC 8259 and without lone surrogates."""
    try:
        document = json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return not re.search("[\ud800-\udfff]", json.dumps(document, ensure_ascii=False))


def is_accepted(body: bytes) -> bool:
    try:
        documents.parse(body)
    except Refusal as refusal:
        return refusal.status != 400
    return True


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
INVALID_FRAGMENTS = st.sampled_from(
    [b"NaN", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80", b'"\\ud800"', b",", b"}", b"\x00", b"01", b"//", b"'", b"1e999"]
)


@given(VALUES)
def test_what_a_json_writer_writes_is_taken(value: Any) -> None:
    assert is_accepted(json.dumps(value, ensure_ascii=False).encode())
    assert is_accepted(json.dumps(value).encode())


@given(VALUES, INVALID_FRAGMENTS, st.integers(0, 60))
def test_a_spoilt_body_is_judged_as_by_a_strict_reader(value: Any, fragment: bytes, at: int) -> None:
    body = json.dumps(value, ensure_ascii=False).encode()
    spoilt_body = body[:at] + fragment + body[at:]
    assert is_accepted(spoilt_body) == is_rfc_8259(spoilt_body)


@given(st.binary(max_size=60))
@example(b'{"name":"\\u0000"}')
def test_any_bytes_are_judged_as_by_a_strict_reader(body: bytes) -> None:
    assert is_accepted(body) == is_rfc_8259(body)


@given(VALUES, INVALID_FRAGMENTS, st.integers(0, 60))
def test_a_typed_reader_refuses_as_not_json_exactly_what_is_none(value: Any, fragment: bytes, at: int) -> None:
    inner = json.dumps(value, ensure_ascii=False).encode()
    body = b'{"name": "a", "unknown": ' + inner[:at] + fragment + inner[at:] + b', "more": "b"}'
    status = 200
    try:
        THING_DECODER.decode(body)
    except Refusal as refusal:
        status = refusal.status
    assert (status == 400) == (not is_rfc_8259(body))


@pytest.mark.parametrize("deep", [16, 17, 64, 30_000])
def test_a_body_may_be_16_deep_and_no_deeper(deep: int) -> None:
    arrays = b"[" * deep + b"]" * deep
    objects = b'{"a":' * deep + b"1" + b"}" * deep
    unknown = b'{"unknown":' + b"[" * (deep - 1) + b"]" * (deep - 1) + b"}"
    assert is_accepted(arrays) == is_accepted(objects) == (deep == 16)
    if deep == 16:
        assert THING_DECODER.decode(unknown) == Thing()
    else:
        with pytest.raises(Refusal, match="not-json"):
            THING_DECODER.decode(unknown)


def test_brackets_in_texts_are_no_depth() -> None:
    assert THING_DECODER.decode(b'{"name": "' + b"[{" * 40 + b'\\"[[", "more": "\\\\"}').more == "\\"


def test_a_string_without_an_end_is_read_once_however_many_quotes_it_holds() -> None:
    """Here reading on from every quote would take hours."""
    assert not is_accepted(b"[" * 17 + b'\\"' * 1_000_000)
    assert not is_accepted(b"[" * 17 + b'"' + b"x" * 1_000_000 + b"\\")


def test_the_last_of_duplicate_members_wins_and_unknown_ones_are_ignored() -> None:
    assert THING_DECODER.decode(b'{"name":"a","who":[1,{"x":2}],"name":"b"}').name == "b"


def test_a_number_beyond_a_float_is_still_json() -> None:
    assert THING_DECODER.decode(b'{"age": 1e999}') == Thing()
    with pytest.raises(Refusal) as refused:
        THING_DECODER.decode(b'{"name": 1e999}')
    assert refused.value.status == 422

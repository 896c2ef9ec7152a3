"""Requests are decoded alike on every route."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.letters.domain.requests import MESSAGES
from services.petitions.domain.requests import ACTS, PARTNER_SIGNATURES, SIGNATURES, read_plain_batch, read_raw_batch
from shared.intake import forms
from shared.intake.requests import RequestDecoder
from shared.refusals import FieldError, Refusal

SIGNATURE: dict[str, Any] = {
    "petition": "free-azat",
    "given_name": "Ana",
    "family_name": "Diaz",
    "email": "ana@example.org",
    "country": "FR",
    "postcode": None,
    "locale": "fr",
    "consent": {"privacy": True, "updates": False, "public_name": False},
    "comment": "",
    "source": "ngo.example/free-azat",
}
MESSAGE = {**SIGNATURE, "case": "azat", "kind": "letter", "text": "Dear Azat,\nhello.", "language": "fr"}
ACT = {"case": "azat", "kind": "share", "email": "ana@example.org", "consent": {"privacy": True}}
GOOD_REQUESTS: list[tuple[RequestDecoder[Any], dict[str, Any]]] = [
    (SIGNATURES, SIGNATURE),
    (PARTNER_SIGNATURES, {**SIGNATURE, "confirmed_at": "2026-12-01T10:00:00Z"}),
    (MESSAGES, MESSAGE),
    (ACTS, ACT),
]

ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=30),
    st.sampled_from(["", " ", "=1", "a\x00", "x" * 101, "x" * 12_000, "QQ", "FR", "fr", "xx", "ana@example", "letter"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["privacy", "updates"]), st.booleans() | st.integers(), max_size=2),
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[RequestDecoder[Any], dict[str, Any]]:
    """A request of any kind, with some members changed, removed or added."""
    decoder, good = draw(st.sampled_from(GOOD_REQUESTS))
    document = copy.deepcopy(good)
    for name in draw(st.lists(st.sampled_from([*good, "unknown", "consent"]), max_size=3)):
        if draw(st.booleans()):
            document.pop(name, None)
        else:
            document[name] = draw(ODD_VALUES)
    return decoder, document


def refusal_of(decoder: RequestDecoder[Any], body: bytes) -> Refusal | None:
    try:
        decoder.decode(body)
    except Refusal as refusal:
        return refusal
    return None


@settings(max_examples=400)
@given(documents())
def test_no_body_is_taken_by_one_reading_and_refused_by_the_other(
    request: tuple[RequestDecoder[Any], dict[str, Any]],
) -> None:
    """The first decoding is by type alone; the second goes field by field to report what is wrong."""
    decoder, document = request
    refusal = refusal_of(decoder, json.dumps(document).encode())
    again = refusal_of(decoder, json.dumps(document, ensure_ascii=False).encode())
    assert (refusal is None) == (again is None)
    faults = list(decoder._field_errors(decoder.request_type, document, ""))
    assert (refusal is None) == (not faults)
    if refusal is not None:
        assert refusal.status == 422
        assert refusal.errors == tuple(faults)


@given(documents(), st.sampled_from(sorted(SIGNATURE)), ODD_VALUES)
def test_of_a_member_that_comes_twice_only_the_last_counts(
    request: tuple[RequestDecoder[Any], dict[str, Any]], name: str, first: Any
) -> None:
    decoder, document = request
    body = json.dumps(document)
    if name not in document:
        return
    doubled = f"{{{json.dumps(name)}: {json.dumps(first)}, {body[1:]}"
    once, twice = refusal_of(decoder, body.encode()), refusal_of(decoder, doubled.encode())
    assert (once.errors if once else None) == (twice.errors if twice else None)


@settings(max_examples=200)
@given(documents())
def test_a_refusal_never_repeats_what_was_sent(request: tuple[RequestDecoder[Any], dict[str, Any]]) -> None:
    decoder, document = request
    planted = "Zyxwvut"
    marked = {
        name: f"{value}{planted}" if isinstance(value, str) and name != "kind" else value
        for name, value in document.items()
    }
    refusal = refusal_of(decoder, json.dumps(marked).encode())
    if refusal is not None:
        encoded = msgspec.json.encode([refusal.errors, refusal.detail, refusal.members, str(refusal)]).decode()
        assert planted not in encoded


WRONG_VALUES: list[Any] = ["", " ", "=1", "a\x00", "\u202e", "QQ", "xx", "nowhere", "yesterday", False, -1]


def field_paths(request: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    """Yield the path of every field of a request, dotted where it is nested."""
    for field in msgspec.structs.fields(request):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from field_paths(field.type, f"{prefix}{field.encode_name}.")
        else:
            yield prefix + field.encode_name


@pytest.mark.parametrize("decoder", [SIGNATURES, PARTNER_SIGNATURES])
def test_the_fast_path_takes_no_field_that_its_check_would_refuse(decoder: RequestDecoder[Any]) -> None:
    refused = set()
    for path in field_paths(decoder.request_type):
        parent, _, name = path.rpartition(".")
        for value in WRONG_VALUES:
            document = copy.deepcopy(SIGNATURE)
            (document[parent] if parent else document)[name] = value
            try:
                request = msgspec.convert(document, decoder.request_type)
            except msgspec.ValidationError:
                continue
            if not decoder._passes_checks(request):
                refused.add(path)
                assert not decoder._is_plain(request), path
    assert refused == set(decoder._checks), "each check must refuse one of the values, or nothing is tried here"
    assert set(field_paths(decoder.request_type)) - refused == {"consent.updates", "consent.public_name"}


@pytest.mark.parametrize(("decoder", "document"), GOOD_REQUESTS)
def test_a_good_request_is_taken(decoder: RequestDecoder[Any], document: dict[str, Any]) -> None:
    assert refusal_of(decoder, json.dumps(document).encode()) is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"email": None}, FieldError("/email", "email.type")),
        ({"email": "ana"}, FieldError("/email", "email.invalid")),
        ({"email": "a" * 255}, FieldError("/email", "email.too-long")),
        ({"given_name": ""}, FieldError("/given_name", "given_name.empty")),
        ({"given_name": 7}, FieldError("/given_name", "given_name.type")),
        ({"given_name": "n" * 101}, FieldError("/given_name", "given_name.too-long")),
        ({"family_name": "a\x00b"}, FieldError("/family_name", "family_name.control-character")),
        ({"country": "QQ"}, FieldError("/country", "country.unknown")),
        ({"locale": "tlhh"}, FieldError("/locale", "locale.unknown")),
        ({"consent": {"privacy": False}}, FieldError("/consent/privacy", "consent.privacy.required")),
        ({"consent": {"privacy": 1}}, FieldError("/consent/privacy", "consent.privacy.type")),
        ({"consent": {}}, FieldError("/consent/privacy", "consent.privacy.missing")),
        ({"consent": None}, FieldError("/consent", "consent.type")),
        ({"comment": "x" * 1_001}, FieldError("/comment", "comment.too-long")),
    ],
)
def test_each_fault_has_a_pointer_and_a_code(change: dict[str, Any], error: FieldError) -> None:
    refusal = refusal_of(SIGNATURES, json.dumps({**SIGNATURE, **change}).encode())
    assert refusal is not None
    assert refusal.errors == (error,)


def test_all_faults_are_told_at_once() -> None:
    refusal = refusal_of(SIGNATURES, b'{"email": 1, "country": "QQ", "consent": {"privacy": false}}')
    assert refusal is not None
    assert {error.code for error in refusal.errors} == {
        *("given_name.missing", "family_name.missing", "petition.missing"),
        *("email.type", "country.unknown", "consent.privacy.required"),
    }


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"text"'])
def test_a_body_that_is_no_object_is_refused_as_such(body: bytes) -> None:
    refusal = refusal_of(SIGNATURES, body)
    assert refusal is not None
    assert refusal.errors == (FieldError("", "body.type"),)


def test_a_kind_that_does_not_exist_is_unknown() -> None:
    refusal = refusal_of(MESSAGES, json.dumps({**MESSAGE, "kind": "novel"}).encode())
    assert refusal is not None
    assert refusal.errors == (FieldError("/kind", "kind.unknown"),)


FORM = {name: SIGNATURE[name] for name in ("petition", "given_name", "family_name", "email", "country", "locale")}


def test_a_form_says_the_same_as_json() -> None:
    typed = {**FORM, "privacy": "on", "postcode": ""}
    assert SIGNATURES.convert(forms.to_document(typed, SIGNATURES.request_type)) == SIGNATURES.decode(
        json.dumps({**SIGNATURE, "source": ""}).encode()
    )


def test_a_form_without_the_tick_is_refused_beside_the_box() -> None:
    with pytest.raises(Refusal) as refused:
        SIGNATURES.convert(forms.to_document(FORM, SIGNATURES.request_type))
    assert refused.value.errors == (FieldError("/consent/privacy", "consent.privacy.required"),)


@pytest.mark.parametrize("body", [b"a=%ff", b"\xff=1", b"&".join(b"a%d=1" % number for number in range(60))])
def test_a_form_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        forms.parse(body)
    assert refused.value.status == 400


def test_a_batch_keeps_its_items_for_later() -> None:
    batch = read_raw_batch(b'{"items": [{"a": 1}, 7, null], "unknown": {}}')
    assert [bytes(item) for item in batch.items] == [b'{"a": 1}', b"7", b"null"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 422, "items.missing"),
        (b'{"items": {}}', 422, "items.type"),
        (b"[]", 422, "body.type"),
        (b'{"items": [' + b",".join([b"1"] * 1_001) + b"]}", 422, "items.too-many"),
        (b'{"items": [1,]}', 400, None),
        (b'{"items": ["\xff"]}', 400, None),
        (b'{"items": [], "x": ' + b"[" * 17 + b"]" * 17 + b"}", 400, None),
    ],
)
def test_a_batch_that_is_none_is_refused_as_a_whole(body: bytes, status: int, code: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        read_raw_batch(body)
    assert refused.value.status == status
    assert [error.code for error in refused.value.errors] == ([code] if code else [])


PARTNER_SIGNATURE = {**SIGNATURE, "confirmed_at": "2026-12-01T10:00:00Z"}


@settings(max_examples=300)
@given(st.lists(documents().map(lambda request: request[1]) | st.just(PARTNER_SIGNATURE), min_size=1, max_size=3))
def test_a_batch_that_is_read_in_one_go_is_what_its_items_are_one_by_one(items: list[dict[str, Any]]) -> None:
    body = json.dumps({"items": items}).encode()
    plain = read_plain_batch(body)
    if plain:
        assert list(plain) == [PARTNER_SIGNATURES.decode_item(item) for item in read_raw_batch(body).items]


def test_the_usual_batch_is_read_in_one_go() -> None:
    body = json.dumps(
        {"items": [PARTNER_SIGNATURE, {**PARTNER_SIGNATURE, "given_name": "José"}]}, ensure_ascii=False
    ).encode()
    assert [item.given_name for item in read_plain_batch(body)] == ["Ana", "José"]


@pytest.mark.parametrize(
    "member",
    [
        b'"unknown": {"a": {}}',
        b'"unknown": [1]',
        b'"unknown": "\xff"',
        b'"comment": "{"',
        b'"given_name": "=1"',
        b'"email": 7',
    ],
)
def test_a_batch_with_anything_unusual_is_read_item_by_item(member: bytes) -> None:
    good = json.dumps(PARTNER_SIGNATURE).encode()
    assert len(read_plain_batch(b'{"items": [' + good + b"]}")) == 1
    assert not read_plain_batch(b'{"items": [' + good[:-1] + b", " + member + b"}]}")


def test_a_deep_item_is_refused_alone() -> None:
    deep = b'{"x":' + b"[" * 14 + b"]" * 14 + b"}"
    (item,) = read_raw_batch(b'{"items": [' + deep + b"]}").items
    with pytest.raises(Refusal, match="not-json"):
        PARTNER_SIGNATURES.decode_item(item)

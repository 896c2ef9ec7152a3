"""Reading a request into its struct: one decision for the hot route, the ordinary route, forms and batches.

`read` decides with the struct's own constraints and the checks of its fields. Only when that refuses is the body read
again as any document, field by field, to say everything that is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter, call
from typing import Any, Final, Generic, TypeVar

import msgspec

from shared.intake import documents
from shared.intake.fields import Word
from shared.refusals import FieldError, Refusal, invalid

Check = Callable[[Any], Word]
Request = TypeVar("Request", bound=msgspec.Struct)

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
ITEM_DEPTH: Final = 2
"""An item of a batch stands in an array in an object."""
_BODY_REFUSED: Final = FieldError("", "body.invalid")


class RequestDecoder(Generic[Request]):
    """Reads requests of one kind.

    `checks`, two or more, are by the field's place in the request, dotted where it is nested: `consent.privacy`. They
    must find nothing wrong with the struct's defaults, which stand for fields that are absent. `plain` is a quick look
    at the usual request: true only where no check would find anything.
    """

    def __init__(
        self,
        request: type[Request],
        checks: Mapping[str, Check],
        plain: Callable[[Request], object] = lambda _request: False,
    ) -> None:
        self._request = request
        self._plain = plain
        self._checks = dict(checks)
        self._values = attrgetter(*checks)
        self._each = tuple(checks.values())
        self._decode = msgspec.json.Decoder(request).decode

    def decode(self, body: bytes) -> Request:
        """The request in the JSON document `body`.

        Raises:
            Refusal: 400 where it is not JSON, 422 where a field is wrong.
        """
        documents.check_encoding(body)
        try:
            request = self._decode(body)
        except UNREADABLE:
            pass
        else:
            if self._plain(request) or self._is_acceptable(request):
                return request
        # Also for a member that came twice, wrong at first: the last one counts.
        return self.convert(documents.parse(body))

    def decode_item(self, item: msgspec.Raw) -> Request:
        """The request in an item of a batch.

        Raises:
            Refusal: as `read`.
        """
        raw = bytes(item)
        documents.check_depth(raw, documents.MAX_DEPTH - ITEM_DEPTH)
        return self.decode(raw)

    def convert(self, document: Any) -> Request:
        """The request in a document that has been read already, or that was made from a form.

        Raises:
            Refusal: 422 where a field is wrong.
        """
        try:
            request = msgspec.convert(document, self._request)
        except msgspec.ValidationError:
            raise self._refusal(document) from None
        if not self._is_acceptable(request):
            raise self._refusal(document)
        return request

    def _is_acceptable(self, request: Request) -> bool:
        return not any(map(call, self._each, self._values(request)))

    def _refusal(self, document: Any) -> Refusal:
        return invalid(list(self._faults(self._request, document, "")) or [_BODY_REFUSED])

    def _faults(self, struct: type[msgspec.Struct], document: Any, place: str) -> Iterator[FieldError]:
        if not isinstance(document, Mapping):
            yield _fault(place or "body", "type", within=place)
            return
        for field in msgspec.structs.fields(struct):
            label = f"{place}.{field.encode_name}" if place else field.encode_name
            if field.encode_name not in document:
                if field.required:
                    yield _fault(label, "missing")
                continue
            value = document[field.encode_name]
            if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                yield from self._faults(field.type, value, label)
                continue
            word = _word(field.type, value) or self._checked(label, value)
            if word is not None:
                yield _fault(label, word)

    def _checked(self, label: str, value: Any) -> Word:
        check = self._checks.get(label)
        return check(value) if check is not None else None


def _fault(label: str, word: str, *, within: str | None = None) -> FieldError:
    pointer = "" if within == "" else "/" + label.replace(".", "/")
    return FieldError(pointer, f"{label}.{word}")


def _word(expected: Any, value: Any) -> Word:
    """What is wrong with the type or the length of `value`, if anything."""
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError:
        pass
    else:
        return None
    if not isinstance(value, str) or not _takes_text(expected):
        return "type"
    if _is_choice(expected):
        return "unknown"
    return "too-long" if value else "empty"


def _takes_text(expected: Any) -> bool:
    schema = msgspec.json.schema(expected)
    shapes = schema.get("anyOf", [schema])
    return any(shape.get("type") == "string" or "enum" in shape for shape in shapes)


def _is_choice(expected: Any) -> bool:
    return "enum" in msgspec.json.schema(expected)

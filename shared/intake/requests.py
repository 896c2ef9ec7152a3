"""Decoding a request into its struct: one decision for the fast route, the ordinary route, forms and batches.

`decode` applies the struct's own constraints and the checks of its fields. Only when these refuse is the body decoded
again as any document, field by field, to report all its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter, call
from typing import Any, Final, Generic, TypeVar

import msgspec

from shared.intake import documents
from shared.intake.fields import CheckResult
from shared.refusals import FieldError, Refusal, invalid

Check = Callable[[Any], CheckResult]
Request = TypeVar("Request", bound=msgspec.Struct)

DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
ITEM_DEPTH: Final = 2
"""An item of a batch is nested in an array in an object."""
_INVALID_BODY: Final = FieldError("", "body.invalid")


class RequestDecoder(Generic[Request]):
    """Decodes requests of one kind.

    `checks`, two or more, are by the path of the field, dotted where it is nested: `consent.privacy`. They must accept
    the struct's defaults, which stand for absent fields. `is_plain` is the fast path of the most common requests: true
    only where no check would find anything.
    """

    def __init__(
        self,
        request: type[Request],
        checks: Mapping[str, Check],
        is_plain: Callable[[Request], object] = lambda _request: False,
    ) -> None:
        self.request_type = request
        self._is_plain = is_plain
        self._checks = dict(checks)
        self._get_values = attrgetter(*checks)
        self._field_checks = tuple(checks.values())
        self._decode = msgspec.json.Decoder(request).decode

    def decode(self, body: bytes) -> Request:
        """Return the request in the JSON document `body`.

        Raises:
            Refusal: 400 where it is not JSON, 422 where a field is wrong.
        """
        documents.check_encoding(body)
        try:
            request = self._decode(body)
        except DECODE_ERRORS:
            pass
        else:
            if self._is_plain(request) or self._passes_checks(request):
                return request
        # Also reached by a duplicate member whose first value is wrong: the last one counts.
        return self.convert(documents.parse(body))

    def decode_item(self, item: msgspec.Raw) -> Request:
        """Return the request in an item of a batch.

        Raises:
            Refusal: as `decode`.
        """
        raw = bytes(item)
        documents.check_depth(raw, documents.MAX_DEPTH - ITEM_DEPTH)
        return self.decode(raw)

    def convert(self, document: Any) -> Request:
        """Return the request in a document that is already decoded, or that was made from a form.

        Raises:
            Refusal: 422 where a field is wrong.
        """
        try:
            request = msgspec.convert(document, self.request_type)
        except msgspec.ValidationError:
            raise self._refusal(document) from None
        if not self._passes_checks(request):
            raise self._refusal(document)
        return request

    def _passes_checks(self, request: Request) -> bool:
        return not any(map(call, self._field_checks, self._get_values(request)))

    def _refusal(self, document: Any) -> Refusal:
        return invalid(list(self._field_errors(self.request_type, document, "")) or [_INVALID_BODY])

    def _field_errors(self, struct: type[msgspec.Struct], document: Any, prefix: str) -> Iterator[FieldError]:
        if not isinstance(document, Mapping):
            yield FieldError(_pointer(prefix), f"{prefix or 'body'}.type")
            return
        for field in msgspec.structs.fields(struct):
            path = f"{prefix}.{field.encode_name}" if prefix else field.encode_name
            error: CheckResult = None
            if field.encode_name not in document:
                error = "missing" if field.required else None
            elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                yield from self._field_errors(field.type, document[field.encode_name], path)
            else:
                value, check = document[field.encode_name], self._checks.get(path)
                error = _type_error(field.type, value) or (check(value) if check is not None else None)
            if error is not None:
                yield FieldError(_pointer(path), f"{path}.{error}")


def _pointer(path: str) -> str:
    return "/" + path.replace(".", "/") if path else ""


def _type_error(field_type: Any, value: Any) -> CheckResult:
    """Return what is wrong with the type or the length of `value`, if anything."""
    try:
        msgspec.convert(value, field_type)
    except msgspec.ValidationError:
        schema = msgspec.json.schema(field_type)
    else:
        return None
    alternatives = schema.get("anyOf", [schema])
    takes_text = any(alternative.get("type") == "string" or "enum" in alternative for alternative in alternatives)
    if not takes_text or not isinstance(value, str):
        return "type"
    if "enum" in schema:
        return "unknown"
    return "too-long" if value else "empty"

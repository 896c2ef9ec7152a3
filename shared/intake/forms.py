"""Plain HTML forms, converted to the documents that JSON would have been."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from shared.intake.person_fields import Consent
from shared.refusals import Refusal

MAX_FIELDS: Final = 50
CONSENTS: Final = Consent.__struct_fields__
_UNCHECKED: Final = frozenset(("", "false", "0", "off"))


def parse(body: bytes) -> dict[str, str]:
    """Return the values of a form by field name; the last of equal names wins.

    Raises:
        Refusal: 400 where `body` is no form in UTF-8.
    """
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise Refusal(400, "not-a-form", "The body is not a form in UTF-8.") from None
    return dict(pairs)


def to_document(values: Mapping[str, str], request: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON document equivalent to a form for `request`.

    Consents and boolean fields are checkboxes. An empty field counts as absent where it may be left out.
    """
    optional, checkboxes = _optional_fields(request)
    document: dict[str, Any] = {
        name: text for name, text in values.items() if name not in CONSENTS and (text or name not in optional)
    }
    document |= {name: _is_checked(values, name) for name in checkboxes}
    document["consent"] = {name: _is_checked(values, name) for name in CONSENTS}
    return document


def form_of(request: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the struct of a form for `request`, as it is documented: the consents stand beside the other fields."""
    fields = [field for field in msgspec.structs.fields(request) if field.type is not Consent]
    return msgspec.defstruct(
        f"{request.__name__.removesuffix('Request')}Form",
        [(field.name, field.type, field.default) for field in (*fields, *msgspec.structs.fields(Consent))],
        namespace={"__doc__": f"A plain HTML form for a {request.__name__}; a ticked box is true."},
        kw_only=True,
    )


@lru_cache
def _optional_fields(request: type[msgspec.Struct]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the fields of `request` that may be left out, and of those among them that are boolean."""
    fields = [field for field in msgspec.structs.fields(request) if not field.required]
    return frozenset(field.name for field in fields), frozenset(field.name for field in fields if field.type is bool)


def _is_checked(values: Mapping[str, str], name: str) -> bool:
    return values.get(name, "") not in _UNCHECKED

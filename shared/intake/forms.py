"""Plain HTML forms, converted to the documents that JSON would have been."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from shared.refusals import Refusal

MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
MAX_FIELDS: Final = 50
CONSENTS: Final = ("privacy", "updates", "public_name")
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


def to_document(
    values: Mapping[str, str], *, optional: Iterable[str], checkboxes: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the JSON document equivalent to a form.

    Consents are the checkboxes `privacy`, `updates` and `public_name`; `checkboxes` are further boolean fields. An
    empty field in `optional` counts as absent.
    """
    fields: dict[str, Any] = {name: text for name, text in values.items() if name not in CONSENTS}
    for name in optional:
        if fields.get(name) == "":
            del fields[name]
    for name in checkboxes:
        fields[name] = is_checked(values, name)
    fields["consent"] = {name: is_checked(values, name) for name in CONSENTS}
    return fields


def is_checked(values: Mapping[str, str], name: str) -> bool:
    """Whether a checkbox was checked."""
    return values.get(name, "") not in _UNCHECKED

"""Plain HTML forms, as the documents that JSON would have been."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from shared.refusals import Refusal

MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
MAX_FIELDS: Final = 50
CONSENTS: Final = ("privacy", "updates", "public_name")
_UNTICKED: Final = frozenset(("", "false", "0", "off"))


def values(body: bytes) -> dict[str, str]:
    """What was typed, by field name; the last of equal names wins.

    Raises:
        Refusal: 400 where it is no such form in UTF-8.
    """
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise Refusal(400, "not-a-form", "The body is not a form in UTF-8.") from None
    return dict(pairs)


def document(typed: Mapping[str, str], *, optional: Iterable[str], boxes: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON document that says the same as a form.

    Consents are the boxes `privacy`, `updates` and `public_name`; `boxes` are further true-or-false fields. A field
    in `optional` that was left empty counts as absent.
    """
    fields: dict[str, Any] = {name: text for name, text in typed.items() if name not in CONSENTS}
    for name in optional:
        if fields.get(name) == "":
            del fields[name]
    for name in boxes:
        fields[name] = is_ticked(typed, name)
    fields["consent"] = {name: is_ticked(typed, name) for name in CONSENTS}
    return fields


def is_ticked(typed: Mapping[str, str], name: str) -> bool:
    """Whether a box came back ticked."""
    return typed.get(name, "") not in _UNTICKED

"""What the ordinary routes say of themselves in the OpenAPI document, from the structs that decide."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from shared.intake import forms

_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code"],
                "properties": {"pointer": {"type": "string"}, "code": {"type": "string"}},
            },
        },
    },
}

_MEANINGS: Final = {
    400: "Not JSON (RFC 8259) in UTF-8, or not a form",
    401: "No API key, or one that is not known",
    403: "The API key lacks the scope",
    404: "There is no such petition, case, receipt or link",
    410: "Closed; the members `total`, `as_of` and `state` say how it ended",
    413: "The body is too large",
    415: "Neither JSON nor a form",
    422: "Some fields were refused; `errors` names each",
    503: "Nothing is known to be stored; repeating is safe",
}

Responses = dict[int | str, dict[str, Any]]


def schema_of(struct: Any) -> dict[str, Any]:
    """The JSON schema of a struct, whole, with nothing to look up elsewhere."""
    (schema,), components = msgspec.json.schema_components((struct,), ref_template="{name}")
    inlined: dict[str, Any] = _inlined(schema, components)
    return inlined


def _inlined(part: Any, components: dict[str, Any]) -> Any:
    if isinstance(part, dict):
        if "$ref" in part:
            return _inlined(components[part["$ref"]], components)
        return {name: _inlined(value, components) for name, value in part.items()}
    if isinstance(part, list):
        return [_inlined(value, components) for value in part]
    return part


def body(struct: Any, *, form: bool = False) -> dict[str, Any]:
    """The `openapi_extra` of a route that takes `struct` as JSON, and as a form too where `form` says so."""
    content: dict[str, Any] = _json(schema_of(struct))
    if form:
        content[forms.MEDIA_TYPE] = {"schema": {"type": "object"}}
    return {"requestBody": {"required": True, "content": content}}


def responses(
    *statuses: int,
    accepted: dict[str, Any] | None = None,
    answer: dict[str, Any] | None = None,
    page: bool = False,
    form: bool = False,
) -> Responses:
    """The answers of a route: the problems of `statuses`, a 202 with the schema `accepted`, a 200 with `answer`.

    `page` says that people get pages instead, `form` that forms are taken and answered with pages, or with a 303.
    """
    as_page: dict[str, Any] = {"text/html": {"schema": {"type": "string"}}} if page or form else {}
    problem = {"application/problem+json": {"schema": _PROBLEM}, **as_page}
    result: Responses = {status: {"description": _MEANINGS[status], "content": problem} for status in statuses}
    if accepted is not None:
        result[202] = {"description": "The broker has stored it", "content": _json(accepted)}
    if answer is not None:
        result[200] = {"description": "The answer", "content": {**_json(answer), **as_page}}
    if form:
        result[303] = {"description": "The form was taken: here is the thank-you page"}
    return result


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


RECEIPT: Final = {
    "type": "object",
    "required": ["receipt", "status"],
    "properties": {"receipt": {"type": "string"}, "status": {"const": "accepted"}},
}
"""The schema of what a taken action is answered with."""

STATUS: Final = {
    "type": "object",
    "required": ["status", "as_of"],
    "properties": {"status": {"enum": ["accepted", "counted"]}, "as_of": {"type": "string", "format": "date-time"}},
}
"""The schema of what a receipt is answered with."""

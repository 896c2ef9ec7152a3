"""The OpenAPI document's parts of the ordinary routes, from the structs that decode their requests."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from shared.intake import forms

_PROBLEM_SCHEMA: Final = {
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

_DESCRIPTIONS: Final = {
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
    """Return the JSON schema of a struct with all references inlined."""
    (schema,), components = msgspec.json.schema_components((struct,), ref_template="{name}")
    resolved: dict[str, Any] = _inline(schema, components)
    return resolved


def _inline(node: Any, components: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            return _inline(components[node["$ref"]], components)
        return {name: _inline(value, components) for name, value in node.items()}
    if isinstance(node, list):
        return [_inline(value, components) for value in node]
    return node


def request_body(struct: Any, *, form: bool = False) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that takes `struct` as JSON and, with `form`, as a form too."""
    content: dict[str, Any] = _json_content(schema_of(struct))
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
    """Return the answers of a route: the problems of `statuses`, a 202 with the schema `accepted`, a 200 with `answer`.

    With `page` people get pages instead; with `form` forms are taken and answered with pages, or with a 303.
    """
    as_page: dict[str, Any] = {"text/html": {"schema": {"type": "string"}}} if page or form else {}
    problem = {"application/problem+json": {"schema": _PROBLEM_SCHEMA}, **as_page}
    result: Responses = {status: {"description": _DESCRIPTIONS[status], "content": problem} for status in statuses}
    if accepted is not None:
        result[202] = {"description": "The broker has stored it", "content": _json_content(accepted)}
    if answer is not None:
        result[200] = {"description": "The answer", "content": {**_json_content(answer), **as_page}}
    if form:
        result[303] = {"description": "The form was taken: here is the thank-you page"}
    return result


def _json_content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


RECEIPT_SCHEMA: Final = {
    "type": "object",
    "required": ["receipt", "status"],
    "properties": {"receipt": {"type": "string"}, "status": {"const": "accepted"}},
}
"""The schema of the answer to a submission."""

STATUS_SCHEMA: Final = {
    "type": "object",
    "required": ["status", "as_of"],
    "properties": {"status": {"enum": ["accepted", "counted"]}, "as_of": {"type": "string", "format": "date-time"}},
}
"""The schema of the answer about a receipt."""

"""The OpenAPI document: bodies and answers from the structs that decode and encode them, the rest from FastAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import FastAPI
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from shared.events.values import TotalsState
from shared.http.problem import MEDIA_TYPE
from shared.refusals import FieldError

DateTime = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
_HTML: Final = "text/html"
_COMPONENT: Final = "#/components/schemas/{name}"
_RETRY_AFTER: Final = {"Retry-After": {"description": "In seconds", "required": True, "schema": {"type": "integer"}}}

_DESCRIPTIONS: Final = {
    400: "Not JSON (RFC 8259) in UTF-8, or not a form",
    401: "No API key, or one that is not known",
    403: "The API key lacks the scope",
    404: "There is no such campaign, petition, case, receipt or link",
    410: "Closed; the members `total`, `as_of` and `state` say how it ended",
    413: "The body is too large",
    415: "Neither JSON nor a form",
    422: "Some fields were refused; `errors` names each",
    429: "Too many requests; repeating later is safe",
    503: "Nothing is known to be stored; repeating is safe",
}

Responses = dict[int | str, dict[str, Any]]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem (RFC 9457). `errors` names each refused field; `total`, `as_of` and `state` are those of a campaign
    that has closed.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | UnsetType = UNSET
    total: int | UnsetType = UNSET
    as_of: DateTime | UnsetType = UNSET
    state: TotalsState | UnsetType = UNSET


class Accepted(msgspec.Struct, frozen=True):
    """The answer to a submission that the broker has stored."""

    receipt: str
    status: Literal["accepted"]


class ReceiptState(msgspec.Struct, frozen=True):
    """What became of a submission, as of a time."""

    status: Literal["accepted", "counted"]
    as_of: DateTime


def schema_of(struct: Any) -> dict[str, Any]:
    """Return a reference to the schema of a struct, with the components that it needs as `$defs`."""
    (schema,), components = msgspec.json.schema_components((struct,), ref_template=_COMPONENT)
    return {**schema, "$defs": components}


def json_answer(answer: msgspec.Struct, headers: Mapping[str, str]) -> Response:
    """Return `answer` as JSON, with these headers."""
    return Response(msgspec.json.encode(answer), headers=headers, media_type=JSON)


def request_body(json: Any = None, form: Any = None, *, required: bool = True) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that takes the struct `json` as JSON, and the struct `form` as a form."""
    structs = {JSON: json, FORM: form}
    content = {media_type: {"schema": schema_of(struct)} for media_type, struct in structs.items() if struct}
    return {"requestBody": {"required": required, "content": content}}


def responses(
    *statuses: int, accepted: Any = None, answer: Any = None, page: bool = False, form: bool = False
) -> Responses:
    """Return the answers of a route: problems of `statuses`, a 202 with the struct `accepted`, a 200 with `answer`.

    With `page` people get pages instead; with `form` forms are taken and answered with pages, or with a 303.
    """
    as_page: dict[str, Any] = {_HTML: {"schema": {"type": "string"}}} if page or form else {}
    problem = {MEDIA_TYPE: {"schema": schema_of(Problem)}, **as_page}
    result: Responses = {status: {"description": _DESCRIPTIONS[status], "content": problem} for status in statuses}
    for status in {429, 503}.intersection(statuses):
        result[status]["headers"] = _RETRY_AFTER
    if accepted is not None:
        result[202] = {"description": "The broker has stored it", "content": _json_content(accepted)}
    if answer is not None or page:
        result[200] = {"description": "The answer", "content": {**_json_content(answer), **as_page}}
    if form:
        result[303] = {"description": "The form was taken: `Location` is the page that says so"}
    return result


def _json_content(struct: Any) -> dict[str, Any]:
    return {JSON: {"schema": schema_of(struct)}} if struct is not None else {}


class DocumentedApp(FastAPI):
    """An application whose OpenAPI document has one component for each schema, and names only answers that happen."""

    def openapi(self) -> dict[str, Any]:
        """Return the document; it is made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for operation in (each for path in document["paths"].values() for each in path.values()):
                if JSON in operation["responses"].get("422", {}).get("content", {}):
                    del operation["responses"]["422"]  # FastAPI's own, where no text is ever refused
            _collect_components(document["paths"], schemas)
        return self.openapi_schema or {}


def _collect_components(node: Any, schemas: dict[str, Any]) -> None:
    """Move the `$defs` in `node` to `schemas`; state arrays of a fixed length as every generator reads them."""
    if isinstance(node, list):
        for child in node:
            _collect_components(child, schemas)
    elif isinstance(node, dict):
        definitions = node.pop("$defs", {})
        schemas.update(definitions)
        if node.get("items") is False:
            node["items"] = node.pop("prefixItems")[0]
        for child in (*definitions.values(), *node.values()):
            _collect_components(child, schemas)

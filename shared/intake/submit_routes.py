"""The ordinary route of a submission, beside its fast route: the same decision, and every answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from shared.http.openapi import FORM, JSON, Accepted, request_body, responses
from shared.http.service import resolve_client
from shared.intake import forms
from shared.intake.idempotency import MAX_KEY_LENGTH
from shared.intake.pages import NO_STORE, FormPages
from shared.intake.submit import SubmitEndpoint, accepted_body, count_refusal
from shared.refusals import Refusal

FormValues = Mapping[str, str]
_KEY_RULE: Final = f"For ten minutes it stands for one body. At most {MAX_KEY_LENGTH} characters; a form has none."
IdempotencyKey = Annotated[str | None, Header(description=_KEY_RULE)]
_CHARSET: Final = re.compile(r'\s*charset\s*=\s*"?utf-?8"?\s*', re.IGNORECASE)


def add_submit_route(
    router: APIRouter,
    path: str,
    endpoint: SubmitEndpoint[Any],
    form_pages: FormPages,
    *,
    name: str,
    summary: str,
    description: str,
    thanks_url: str,
    case_of: Callable[[FormValues], str | None] = lambda values: values.get("case"),
    complete_form: Callable[[FormValues], FormValues] = lambda values: values,
) -> None:
    """Add the route that takes JSON, answered with 202, and plain HTML forms, answered with 303.

    `form_pages` show a refused form again, and `thanks_url` is the URL of thank-you pages, to which the receipt is
    added. From a form's values `case_of` returns the slug of the case whose page has the form, and `complete_form`
    the values as they are taken. The OpenAPI document has `name`, `summary` and `description`.
    """

    async def submit(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        if is_form(request):
            return await _submit_form(
                request, endpoint, form_pages, thanks_url=thanks_url, case_of=case_of, complete_form=complete_form
            )
        return await submit_json(request, endpoint, idempotency_key)

    router.add_api_route(
        path,
        submit,
        methods=["POST"],
        status_code=202,
        name=name,
        summary=summary,
        description=description,
        responses=responses(400, 404, 410, 413, 415, 422, 429, 503, accepted=Accepted, form=True),
        openapi_extra=request_body(endpoint.decoder.request_type, forms.form_of(endpoint.decoder.request_type)),
    )


async def _submit_form(
    request: Request,
    endpoint: SubmitEndpoint[Any],
    form_pages: FormPages,
    *,
    thanks_url: str,
    case_of: Callable[[FormValues], str | None],
    complete_form: Callable[[FormValues], FormValues],
) -> Response:
    values: FormValues = {}
    try:
        values = forms.parse(await request.body())
        record = endpoint.build_from_form(complete_form(values), resolve_client(request))
        receipt = await endpoint.submit(record)
    except Refusal as refusal:
        count_refusal(endpoint.topic.name, refusal)
        return form_pages.show_refused_form(request, case_of(values), values, refusal)
    locale = values.get("locale")
    query = f"?lang={quote(locale)}" if locale else ""
    return RedirectResponse(f"{thanks_url}/{receipt}{query}", 303, NO_STORE)


async def submit_json(request: Request, endpoint: SubmitEndpoint[Any], key: str | None) -> Response:
    """Take the JSON body of `request` under its Idempotency-Key: 202 once it is stored.

    Raises:
        Refusal: it cannot be taken. TransientError, ConnectionError: nothing is known to be stored.
    """
    try:
        check_json(request)
        body = await request.body()
        record = endpoint.build_from_json(
            body, resolve_client(request), key.encode("latin-1") if key is not None else None
        )
    except Refusal as refusal:
        count_refusal(endpoint.topic.name, refusal)
        raise
    return Response(accepted_body(await endpoint.submit(record)), 202, media_type=JSON)


def is_form(request: Request) -> bool:
    """Whether the body is a plain HTML form."""
    return _media_type(request) == FORM


def check_json(request: Request) -> None:
    """Make sure that the body is declared as JSON.

    Raises:
        Refusal: 415.
    """
    if _media_type(request) != JSON:
        raise Refusal(415, "unsupported-media-type", "Send application/json in UTF-8.")


def _media_type(request: Request) -> str:
    """Return the media type of the body in lower case; empty where it names another character set than UTF-8."""
    media_type, *parameters = request.headers.get("content-type", "").split(";")
    if any("charset" in parameter.lower() and not _CHARSET.fullmatch(parameter) for parameter in parameters):
        return ""
    return media_type.strip().lower() if "content-encoding" not in request.headers else ""

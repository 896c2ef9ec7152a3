"""The ordinary route of a submission, beside its fast route: the same decision, and every answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from shared.http.service import resolve_client
from shared.intake import forms
from shared.intake.pages import IntakePages, redirect_to_thanks
from shared.intake.submit import OutgoingRecord, SubmitEndpoint, accepted_body, count_refusal
from shared.refusals import Refusal

JSON_MEDIA_TYPE: Final = "application/json"
_CHARSET: Final = re.compile(r'\s*charset\s*=\s*"?utf-?8"?\s*', re.IGNORECASE)


async def submit_json(request: Request, endpoint: SubmitEndpoint) -> Response:
    """Take the JSON body of `request`: 202 once it is stored.

    Raises:
        Refusal: it cannot be taken. TransientError, ConnectionError: nothing is known to be stored.
    """
    try:
        check_json(request)
        body = await request.body()
        key = request.headers.get("idempotency-key")
        record = endpoint.build_from_json(
            body, resolve_client(request), key.encode("latin-1") if key is not None else None
        )
    except Refusal as refusal:
        count_refusal(endpoint.batches.topic.name, refusal)
        raise
    return Response(accepted_body(await endpoint.submit(record)), 202, media_type=JSON_MEDIA_TYPE)


async def submit_form(
    request: Request,
    endpoint: SubmitEndpoint,
    form_pages: IntakePages,
    *,
    build_from_form: Callable[[Mapping[str, str]], OutgoingRecord],
    case_of: Callable[[Mapping[str, str]], str | None],
    thanks_url: str,
) -> Response:
    """Take the form in `request`: a 303 to the thank-you page once it is stored, the form again if it is refused.

    `build_from_form` builds a record from the form's values, `case_of` returns the slug of the case whose page has the
    form, and `thanks_url` is the URL of thank-you pages, to which the receipt is added.

    Raises:
        Refusal: the form cannot help with it. TransientError, ConnectionError: nothing is known to be stored.
    """
    values: Mapping[str, str] = {}
    try:
        values = forms.parse(await request.body())
        receipt = await endpoint.submit(build_from_form(values))
    except Refusal as refusal:
        count_refusal(endpoint.batches.topic.name, refusal)
        return form_pages.show_refused_form(request, case_of(values), values, refusal)
    return redirect_to_thanks(thanks_url, receipt, values.get("locale"))


def is_form(request: Request) -> bool:
    """Whether the body is a plain HTML form."""
    return _media_type(request) == forms.MEDIA_TYPE


def check_json(request: Request) -> None:
    """Make sure that the body is declared as JSON.

    Raises:
        Refusal: 415.
    """
    if _media_type(request) != JSON_MEDIA_TYPE:
        raise Refusal(415, "unsupported-media-type", "Send application/json in UTF-8.")


def _media_type(request: Request) -> str:
    """Return the media type of the body in lower case; empty where it names another character set than UTF-8."""
    media_type, *parameters = request.headers.get("content-type", "").split(";")
    if any("charset" in parameter.lower() and not _CHARSET.fullmatch(parameter) for parameter in parameters):
        return ""
    return media_type.strip().lower() if "content-encoding" not in request.headers else ""

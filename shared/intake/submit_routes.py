"""The ordinary route of a post that may also be hot: the same decision, and every answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import TransientError
from shared.http.service import client_of
from shared.intake import forms
from shared.intake.pages import IntakePages, to_thanks
from shared.intake.submit import OutgoingRecord, SubmitEndpoint, accepted, note_refusal
from shared.refusals import Refusal

JSON: Final = "application/json"
_CHARSET: Final = re.compile(r'\s*charset\s*=\s*"?utf-?8"?\s*', re.IGNORECASE)


async def submit_json(request: Request, taking: SubmitEndpoint) -> Response:
    """Take the JSON body of `request`: 202 once it is stored.

    Raises:
        Refusal: it cannot be taken. TransientError, ConnectionError: nothing is known to be stored.
    """
    try:
        check_json(request)
        body = await request.body()
        key = request.headers.get("idempotency-key")
        submission = taking.decide(body, client_of(request), key.encode("latin-1") if key is not None else None)
    except Refusal as refusal:
        note_refusal(taking.windows.topic.name, refusal)
        raise
    return Response(accepted(await taking.submit(submission)), 202, media_type=JSON)


async def submit_form(
    request: Request,
    taking: SubmitEndpoint,
    pages: IntakePages,
    *,
    decide: Callable[[Mapping[str, str]], OutgoingRecord],
    case_of: Callable[[Mapping[str, str]], str | None],
    thanks: str,
) -> Response:
    """Take the form in `request`: a 303 to the thank-you page once it is stored, a page for everything else.

    `decide` makes a submission of what was typed, `case_of` gives the slug of the case whose page has the form, and
    `thanks` is the address of thank-you pages, to which the receipt is added.
    """
    typed: Mapping[str, str] = {}
    try:
        typed = forms.values(await request.body())
        receipt = await taking.submit(decide(typed))
    except Refusal as refusal:
        note_refusal(taking.windows.topic.name, refusal)
        return pages.form_refused(request, case_of(typed), typed, refusal)
    except (TransientError, ConnectionError):
        return pages.problem(request, 503)
    return to_thanks(thanks, receipt, typed.get("locale"))


def is_form(request: Request) -> bool:
    """Whether the body is a plain HTML form."""
    return _media_type(request) == forms.MEDIA_TYPE


def check_json(request: Request) -> None:
    """Make sure that the body says it is JSON.

    Raises:
        Refusal: 415.
    """
    if _media_type(request) != JSON:
        raise Refusal(415, "unsupported-media-type", "Send application/json in UTF-8.")


def _media_type(request: Request) -> str:
    """The media type of the body in lower case; empty where it names another character set than UTF-8."""
    media_type, *parameters = request.headers.get("content-type", "").split(";")
    if any("charset" in parameter.lower() and not _CHARSET.fullmatch(parameter) for parameter in parameters):
        return ""
    return media_type.strip().lower() if "content-encoding" not in request.headers else ""

"""The status of a receipt, as JSON, and its thank-you page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import asyncpg
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from shared.clock import rfc3339
from shared.events.values import Kind
from shared.http.openapi import ReceiptState, json_answer, responses
from shared.intake.process import IntakeProcess
from shared.privacy.receipts import Receipt, short_receipt
from shared.refusals import Refusal
from shared.web.views.acts import thanks_view
from shared.web.views.catalog_view import campaign_languages


def add_status_route(
    router: APIRouter, path: str, process: IntakeProcess, *, name: str, summary: str, description: str
) -> None:
    """Add the route `{path}/{receipt}`: `accepted`, or `counted` as soon as the counter has passed the record."""

    async def status(receipt: str) -> Response:
        status = await process.receipt_status.status(*_read_receipt(process, receipt).record)
        state = ReceiptState("counted" if status.counted else "accepted", rfc3339(status.as_of))
        return json_answer(state, {"Cache-Control": "no-store"})

    answers = responses(404, 503, answer=ReceiptState)
    router.get(f"{path}/{{receipt}}", name=name, summary=summary, description=description, responses=answers)(status)


def add_thanks_route(
    router: APIRouter,
    path: str,
    process: IntakeProcess,
    *,
    status_path: str,
    find_act: Callable[[Receipt], tuple[str, Kind] | None],
    posted: bool = False,
) -> None:
    """Add the route `{path}/{receipt}`, which shows the thank-you page.

    `find_act` returns the case of a receipt and the kind of its act, `status_path` is the path of the receipts' status,
    and `posted` says that the person posted a letter themself.
    """

    async def thanks(request: Request, receipt: str) -> Response:
        contents = _read_receipt(process, receipt)
        act = find_act(contents)
        if act is None:
            raise _unknown_receipt()
        (case, kind), catalog = act, process.catalog
        counted, as_of = await _status_if_known(process, contents)
        view = partial(
            thanks_view,
            catalog,
            case,
            kind=kind,
            posted=posted,
            receipt=_short_receipt_if_known(process, case, contents),
            status_address=f"{process.base_url}{status_path}/{receipt}",
            counted=counted,
            as_of=as_of,
            now=process.broker_time.now(),
        )
        languages = campaign_languages(catalog, case)
        return process.pages.show(
            request, "thanks.html", lambda language: view(language=language), languages=languages, store=False
        )

    router.add_api_route(f"{path}/{{receipt}}", thanks, include_in_schema=False)


async def _status_if_known(process: IntakeProcess, receipt: Receipt) -> tuple[bool, str | None]:
    """Return whether the record is counted, and as of when; not counted where the database does not say."""
    try:
        status = await process.receipt_status.status(*receipt.record)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False, None
    return status.counted, rfc3339(status.as_of)


def _short_receipt_if_known(process: IntakeProcess, case: str, receipt: Receipt) -> str:
    keys = process.catalog.keys.get(process.catalog.cases[case].campaign)
    return short_receipt(keys.token, *receipt.record) if keys is not None else ""


def _read_receipt(process: IntakeProcess, text: str) -> Receipt:
    try:
        return process.receipts.read(text)
    except ValueError:
        raise _unknown_receipt() from None


def _unknown_receipt() -> Refusal:
    return Refusal(404, "unknown-receipt", "There is no such receipt.")

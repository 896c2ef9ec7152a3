"""The status of a receipt, as JSON, and its thank-you page."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.clock import rfc3339
from shared.events.words import Kind
from shared.intake.openapi import STATUS_SCHEMA, responses
from shared.intake.pages import IntakePages
from shared.intake.process import IntakeProcess
from shared.intake.receipt_status import Status
from shared.privacy.receipts import Receipt
from shared.refusals import Refusal


def add_status_route(router: APIRouter, path: str, process: IntakeProcess, *, summary: str, description: str) -> None:
    """Add the route `{path}/{receipt}`: `accepted`, or `counted` as soon as the counter has passed the record."""

    async def status(receipt: str) -> JSONResponse:
        status = await _read_status(process, _read_receipt(process, receipt))
        content = {"status": "counted" if status.counted else "accepted", "as_of": rfc3339(status.as_of)}
        return JSONResponse(content, headers={"Cache-Control": "no-store"})

    documented = responses(404, 503, answer=STATUS_SCHEMA)
    router.add_api_route(f"{path}/{{receipt}}", status, summary=summary, description=description, responses=documented)


def add_thanks_route(
    router: APIRouter,
    path: str,
    process: IntakeProcess,
    form_pages: IntakePages,
    *,
    status_url: str,
    find_act: Callable[[Receipt], tuple[str, Kind] | None],
    posted: bool = False,
) -> None:
    """Add the route `{path}/{receipt}`, which shows the thank-you page.

    `find_act` returns the case of a receipt and the kind of its act, `status_url` is the URL of the receipts' status,
    and `posted` says that the person posted a letter themself.
    """

    async def thanks(request: Request, receipt: str) -> Response:
        contents = _read_receipt(process, receipt)
        act = find_act(contents)
        if act is None:
            raise _unknown_receipt()
        try:
            status = await _read_status(process, contents)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            status = Status(counted=False, as_of=0.0)
        case, kind = act
        return form_pages.show_thanks(
            request,
            case,
            kind=kind,
            posted=posted,
            receipt=contents,
            status_url=f"{status_url}/{receipt}",
            status=status,
        )

    router.add_api_route(f"{path}/{{receipt}}", thanks, include_in_schema=False)


def _read_receipt(process: IntakeProcess, text: str) -> Receipt:
    try:
        return process.receipts.read(text)
    except ValueError:
        raise _unknown_receipt() from None


def _unknown_receipt() -> Refusal:
    return Refusal(404, "unknown-receipt", "There is no such receipt.")


async def _read_status(process: IntakeProcess, receipt: Receipt) -> Status:
    return await process.receipt_status.status(receipt.topic, receipt.partition, receipt.offset)

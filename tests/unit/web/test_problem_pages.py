"""Errors, as a browser and as a program get them: the same in all four services."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Final

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Form
from starlette.responses import Response
from structlog.testing import capture_logs

from deploy.local.databases import SERVICES
from deploy.local.home import PROJECT
from services.marathon.app import create as create_marathon
from services.marathon.settings import MarathonSettings
from services.notifications.app import create as create_notifications
from services.notifications.settings import Settings as NotificationsSettings
from shared.errors import TransientError
from shared.http.problem import Problem
from shared.http.service import create_app
from shared.refusals import Refusal
from shared.settings import ServiceSettings
from shared.web.pages import Pages

SETTINGS: Final = ServiceSettings(database_url="postgresql://nobody@127.0.0.1:1/none", port=1)
BROWSER: Final = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language": "fr"}
ERRORS: Final = {
    404: Problem(404),
    410: Refusal(410, "closed", "Closed."),
    413: Problem(413, headers={"Connection": "close"}),
    422: Problem(422),
    500: ValueError("Zyxwvut"),
    503: TransientError("Zyxwvut"),
}


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """Nothing is printed: a readable traceback takes seconds."""
    with capture_logs():
        yield


def create_site(pages: Pages | None, service: str = "letters") -> FastAPI:
    router = APIRouter()

    @router.api_route("/raise/{status}", methods=["GET", "POST"])
    @router.api_route("/v1/raise/{status}", methods=["GET", "POST"])
    async def fail(status: int) -> Response:
        raise ERRORS[status]

    @router.post("/form")
    async def form(name: Annotated[str, Form()]) -> Response:
        return Response(name)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    return create_app(
        service=service,
        title="T",
        settings=SETTINGS,
        lifespan=lifespan,
        routers=[router],
        readiness=dict[str, str],
        pages=pages,
    )


@cache
def site_of(service: str) -> FastAPI:
    return create_site(Pages(service=service, origins=SETTINGS, folder=PROJECT / "services" / service), service)


async def fetch(app: FastAPI, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.request(method, path, headers=headers)


def neutral(text: str) -> str:
    """Return a page without what differs by service: the folder of its static files, and where the front door is."""
    return re.sub(r"/static/\w+/", "/static/", text).replace(SETTINGS.marathon_url, "")


@pytest.mark.parametrize("status", ERRORS)
async def test_an_error_has_the_same_page_in_every_service(status: int) -> None:
    texts = set()
    for service in SERVICES:
        answer = await fetch(site_of(service), f"/raise/{status}", **BROWSER)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["content-language"] == "fr"
        assert answer.headers["cache-control"] == "no-store"
        assert ("retry-after" in answer.headers) is (status == 503)
        assert f'href="/static/{service}/page.' in answer.text
        assert "Zyxwvut" not in answer.text
        texts.add(neutral(answer.text))
    assert len(texts) == 1


async def test_an_address_that_leads_nowhere_is_a_page_whose_language_can_be_switched() -> None:
    answer = await fetch(site_of("letters"), "/letters/nothing?lang=en", **BROWSER)
    assert answer.status_code == 404
    assert "There is no such page." in answer.text
    assert 'href="?lang=fr"' in answer.text


async def test_a_form_that_the_framework_refuses_is_a_page_for_a_browser() -> None:
    answer = await fetch(site_of("letters"), "/form", "POST", **BROWSER)
    assert answer.status_code == 422
    assert "Revenez en arrière" in answer.text


async def test_what_an_error_adds_to_the_headers_stands_on_its_page_too() -> None:
    assert (await fetch(site_of("letters"), "/raise/413", **BROWSER)).headers["connection"] == "close"


@pytest.mark.parametrize(
    ("path", "method", "accept", "html"),
    [
        ("/raise/404", "GET", "*/*", False),
        ("/raise/404", "GET", "application/json", False),
        ("/raise/500", "GET", "application/json", False),
        ("/v1/raise/404", "GET", BROWSER["Accept"], False),
        ("/v1/nothing", "HEAD", BROWSER["Accept"], False),
        ("/v1/raise/503", "POST", BROWSER["Accept"], True),
        ("/v1/raise/503", "POST", "*/*", False),
    ],
)
async def test_a_program_gets_a_problem_and_a_form_of_a_browser_a_page(
    path: str, method: str, accept: str, *, html: bool
) -> None:
    answer = await fetch(site_of("letters"), path, method, Accept=accept)
    assert answer.headers["content-type"] == ("text/html; charset=utf-8" if html else "application/problem+json")


async def test_a_process_without_pages_answers_every_error_with_a_problem() -> None:
    for path in ("/raise/500", "/nothing", "/static/letters/page.css"):
        answer = await fetch(create_site(None), path, **BROWSER)
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_role_without_pages_serves_none(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("00" * 32)
    key.chmod(0o600)
    marathon = MarathonSettings(database_url=SETTINGS.database_url, port=1, ledger_key_file=key)
    notifications = NotificationsSettings(
        database_url=SETTINGS.database_url,
        recipient_key_file=key,
        wrapping_private_key_file=key,
        mail_from="a@ngo.example",
    )
    for app, serves in (
        (create_marathon(marathon, "web"), True),
        (create_marathon(marathon, "ledger"), False),
        (create_notifications(notifications, "web"), True),
        (create_notifications(notifications, "sender"), False),
        (create_notifications(notifications, "consumer"), False),
    ):
        paths = {getattr(route, "path", "") for route in app.routes}
        assert any(path.startswith("/static/") for path in paths) is serves

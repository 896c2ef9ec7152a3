"""A browser, and pages to open in it: with sample data, or of the whole system."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, Page, async_playwright

from tests.support import browser as browsers
from tests.support.page_preview import Preview, PreviewState
from tests.support.page_samples import sample_catalog
from tests.support.waiting import wait_until

DEADLINE_MS = 15_000
LOOP: Final = "session"
HERE = Path(__file__).parent

OpenPage = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here shares the loop of the browser."""
    for item in items:
        if item.path.parent == HERE and iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope=LOOP), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope=LOOP)
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests."""
    chromium = browsers.find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium.program, args=list(browsers.FLAGS), env={**os.environ, **chromium.environment}
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope=LOOP)
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """`await open_page(width=360, scripts=False, dark=True)`: a new page; script and policy errors fail the test."""
    errors: list[str] = []
    async with AsyncExitStack() as stack:

        async def new_page(*, width: int = 1440, scripts: bool = True, dark: bool = False, **options: Any) -> Page:
            context = await browser.new_context(
                viewport={"width": width, "height": 900},
                java_script_enabled=scripts,
                color_scheme="dark" if dark else "light",
                **{"locale": "en", **options},
            )
            stack.push_async_callback(context.close)
            context.set_default_timeout(DEADLINE_MS)
            page = await context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on(
                "console", lambda message: errors.append(message.text) if "Content Security" in message.text else None
            )
            return page

        yield new_page
    assert errors == []


@pytest_asyncio.fixture(scope="session", loop_scope=LOOP)
async def preview() -> AsyncIterator[tuple[str, Preview]]:
    """The address and the application of the pages with sample data."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        preview_app = Preview(PreviewState(), origin)
        server = uvicorn.Server(
            uvicorn.Config(preview_app.app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await wait_until(lambda: server.started, 10)
        yield origin, preview_app
        preview_app.state.streaming = False
        server.should_exit = True
        await serving


@pytest.fixture
def preview_state(preview: tuple[str, Preview]) -> PreviewState:
    """The state of the preview, reset for each test."""
    preview_state = preview[1].state
    preview_state.samples.__dict__.update(sample_catalog().__dict__)
    preview_state.streaming = True
    preview_state.refused = 0
    return preview_state


@pytest.fixture
def origin(preview: tuple[str, Preview], preview_state: PreviewState) -> str:
    """The address of the preview."""
    del preview_state
    return preview[0]

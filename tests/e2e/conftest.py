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
from tests.support.page_preview import Preview, Stage
from tests.support.page_samples import samples

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
    found = browsers.find()
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=found.program, args=list(browsers.FLAGS), env={**os.environ, **found.environment}
        )
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope=LOOP)
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """`await open_page(width=360, scripts=False, dark=True)`: a fresh page; what it complains about fails the test."""
    complaints: list[str] = []
    async with AsyncExitStack() as stack:

        async def opened(*, width: int = 1440, scripts: bool = True, dark: bool = False, **options: Any) -> Page:
            context = await browser.new_context(
                viewport={"width": width, "height": 900},
                java_script_enabled=scripts,
                color_scheme="dark" if dark else "light",
                **{"locale": "en", **options},
            )
            stack.push_async_callback(context.close)
            context.set_default_timeout(DEADLINE_MS)
            page = await context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
            return page

        yield opened
    assert complaints == []


@pytest_asyncio.fixture(scope="session", loop_scope=LOOP)
async def preview() -> AsyncIterator[tuple[str, Preview]]:
    """The pages with sample data, at an address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
        made = Preview(Stage(), origin)
        server = uvicorn.Server(
            uvicorn.Config(made.app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        )
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110  it offers nothing to wait on
                await asyncio.sleep(0.01)
        yield origin, made
        made.stage.streaming = False
        server.should_exit = True
        await serving


@pytest.fixture
def stage(preview: tuple[str, Preview]) -> Stage:
    """What the preview shows, as at the start."""
    stage = preview[1].stage
    stage.samples.__dict__.update(samples().__dict__)
    stage.streaming = True
    stage.refused = 0
    return stage


@pytest.fixture
def origin(preview: tuple[str, Preview], stage: Stage) -> str:
    """The address of the preview."""
    del stage
    return preview[0]

"""Waiting for a condition with a deadline, where nothing announces it, and watching that one stays."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")
POLL_S: Final = 0.02
TIMEOUT_S: Final = 30.0


async def wait_until(condition: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
    """Return the first true result of `condition`, which may be a coroutine function; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (result := await _evaluate(condition)):
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        await asyncio.sleep(POLL_S)
    return result


async def stays(condition: Callable[[], Any], seconds: float = 0.05) -> None:
    """Fail unless `condition` is true now and for `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert await _evaluate(condition), f"it did not stay so for {seconds} s"
        await asyncio.sleep(POLL_S)


async def wait_until_settled(read: Callable[[], Any], seconds: float = 0.1, timeout_s: float = TIMEOUT_S) -> None:
    """Wait until `read` has returned the same value for `seconds`; fail after `timeout_s`."""
    began = since = time.monotonic()
    value = read()
    while time.monotonic() - since < seconds:
        await asyncio.sleep(POLL_S)
        assert time.monotonic() - began < timeout_s, f"not settled within {timeout_s} s"
        if (latest := read()) != value:
            value, since = latest, time.monotonic()


def wait_for(condition: Callable[[], T | None], description: str = "it", timeout_s: float = 60.0) -> T:
    """Return the first true result of `condition`, for a test without an event loop."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{description} did not happen within {timeout_s} s"
        time.sleep(POLL_S)
    return result


async def _evaluate(condition: Callable[[], Any]) -> Any:
    result = condition()
    return await result if inspect.isawaitable(result) else result

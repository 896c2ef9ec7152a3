"""Background tasks: none ends unnoticed."""

from __future__ import annotations

import asyncio

import pytest

from shared import tasks as module
from shared.tasks import Tasks, retry_on_outage


async def _fail() -> None:
    raise RuntimeError("ana@example.org")


async def _return() -> None:
    return


async def _wait() -> None:
    await asyncio.Event().wait()


async def _failures(*runs: object) -> list[str]:
    failed: list[str] = []
    reported = asyncio.Event()

    def report(name: str) -> None:
        failed.append(name)
        reported.set()

    async with asyncio.timeout(5), Tasks(on_failure=report) as tasks:
        for run in runs:
            tasks.start(run.__name__, run)  # type: ignore[attr-defined, arg-type]
        await reported.wait()
    return failed


async def test_a_task_that_raises_is_a_failure() -> None:
    assert await _failures(_fail, _wait) == ["_fail"]


async def test_a_task_that_returns_is_a_failure() -> None:
    assert await _failures(_return, _wait) == ["_return"]


async def test_tasks_that_run_on_are_cancelled_in_peace() -> None:
    failed: list[str] = []
    async with Tasks(on_failure=failed.append) as tasks:
        tasks.start("wait", _wait)
        await asyncio.sleep(0)
    assert failed == []


async def test_an_outage_is_waited_out_and_told_of_and_anything_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_PAUSE_S", 0.0)
    outcomes: list[Exception | None] = [TimeoutError(), OSError(), None]
    reported: list[Exception] = []

    async def attempt() -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    await retry_on_outage(attempt, (OSError,), reported.append)
    assert (outcomes, [type(error) for error in reported]) == ([], [TimeoutError, OSError])
    outcomes.append(KeyError())
    with pytest.raises(KeyError):
        await retry_on_outage(attempt, (OSError,), reported.append)

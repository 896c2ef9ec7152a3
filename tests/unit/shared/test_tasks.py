"""Background tasks: none ends unnoticed."""

from __future__ import annotations

import asyncio

from shared.tasks import Tasks


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

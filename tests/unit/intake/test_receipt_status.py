"""The status of receipts while the database is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from shared.intake.receipt_status import ReceiptStatus


class UnresponsivePool:
    """A pool whose connections never answer; `acquired` counts how often one was acquired."""

    def __init__(self) -> None:
        self.acquired = 0

    @asynccontextmanager
    async def acquire(self, timeout: float) -> AsyncIterator[Any]:  # noqa: ASYNC109  as a pool has it
        self.acquired += 1
        yield self
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asyncio.Event().wait()

    async def fetchrow(self, *_: object) -> Any:
        await asyncio.Event().wait()

    fetchval = fetch = execute = fetchrow


async def test_nobody_waits_for_long_for_a_database_that_is_cut_off() -> None:
    pool: Any = UnresponsivePool()
    receipt_status = ReceiptStatus(pool, lambda: 1_800_000_000.0, {"signatures": "count"}, timeout_seconds=0.2)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(
            *(receipt_status.status("signatures", 0, offset) for offset in range(100)), return_exceptions=True
        )
    assert all(isinstance(answer, OSError) for answer in answers)
    assert pool.acquired == 1


async def test_who_asks_once_others_have_waited_in_vain_is_answered_as_soon() -> None:
    pool: Any = UnresponsivePool()
    receipt_status = ReceiptStatus(pool, lambda: 1_800_000_000.0, {"signatures": "count"}, timeout_seconds=0.1)
    async with asyncio.timeout(5):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await receipt_status.status("signatures", 0, 7)
    assert pool.acquired == 3


async def test_who_no_longer_waits_does_not_end_the_read_of_others() -> None:
    pool: Any = UnresponsivePool()
    receipt_status = ReceiptStatus(pool, lambda: 1_800_000_000.0, {"signatures": "count"}, timeout_seconds=0.1)
    first, second = (asyncio.create_task(receipt_status.status("signatures", 0, offset)) for offset in (7, 8))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            await second
    assert first.cancelled()
    assert pool.acquired == 1

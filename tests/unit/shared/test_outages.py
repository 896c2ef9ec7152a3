"""What is an outage, and how long it is waited for."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError

from shared import outages
from shared.errors import TransientError
from shared.outages import DATA_ERRORS, OUTAGES, Backoff, retry_on_outage


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "Backoff", partial(Backoff, min_pause_s=0.0))


@pytest.mark.parametrize(
    "error",
    [
        KafkaConnectionError,
        TimeoutError,
        asyncpg.CannotConnectNowError,
        asyncpg.AdminShutdownError,
        asyncpg.DiskFullError,
        asyncpg.TooManyConnectionsError,
        asyncpg.DeadlockDetectedError,
        asyncpg.LockNotAvailableError,
        asyncpg.ReadOnlySQLTransactionError,
        asyncpg.ConnectionDoesNotExistError,
        asyncpg.InterfaceError,
    ],
)
def test_what_may_pass_is_an_outage_and_no_fault_of_data(error: type[Exception]) -> None:
    assert issubclass(error, OUTAGES)
    assert not issubclass(error, DATA_ERRORS)


@pytest.mark.parametrize(
    "error",
    [
        AttributeError,
        asyncpg.UndefinedTableError,
        asyncpg.InsufficientPrivilegeError,
        asyncpg.CheckViolationError,
        asyncpg.CharacterNotInRepertoireError,
        asyncpg.StatementTooComplexError,
    ],
)
def test_a_bug_and_data_that_cannot_be_stored_are_no_outage(error: type[Exception]) -> None:
    assert not issubclass(error, OUTAGES)


async def test_an_outage_is_waited_out_and_reported_and_anything_else_is_not() -> None:
    outcomes: list[Exception | None] = [TimeoutError(), OSError(), None]
    reported: list[Exception] = []

    async def attempt() -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    await retry_on_outage(attempt, reported.append)
    assert (outcomes, [type(error) for error in reported]) == ([], [TimeoutError, OSError])
    outcomes.append(KeyError())
    with pytest.raises(KeyError):
        await retry_on_outage(attempt, reported.append)


async def test_an_outage_without_an_end_is_given_up() -> None:
    async def attempt() -> None:
        raise ConnectionError

    with pytest.raises(TransientError, match="Kafka or PostgreSQL is away"):
        await retry_on_outage(attempt, lambda _: None, give_up_s=0.05)


async def test_a_success_and_an_excuse_put_off_giving_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(outages, "time", SimpleNamespace(monotonic=lambda: now[0]))
    backoff = outages.Backoff("nothing is done", give_up_s=10.0)
    now[0] = 11.0
    await backoff.pause(OSError(), excused=True)
    now[0] = 20.0
    await backoff.pause(OSError())
    backoff.reset()
    now[0] = 29.0
    await backoff.pause(OSError())
    now[0] = 31.0
    with pytest.raises(TransientError, match="nothing is done for 10 s"):
        await backoff.pause(OSError())


async def test_a_cancellation_that_an_error_replaced_ends_the_waiting() -> None:
    async def attempt() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError

    waiting = asyncio.create_task(retry_on_outage(attempt, lambda _: None))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

"""The errors of Kafka and PostgreSQL while they are away, and how to wait for them.

A bug of ours (`AttributeError`, a missing table) is no outage, and neither is a record that PostgreSQL cannot store.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
from aiokafka.errors import KafkaError

from shared.errors import TransientError
from shared.tasks import raise_if_cancelled

KAFKA_OUTAGES: Final[tuple[type[Exception], ...]] = (KafkaError, OSError)
"""A `TimeoutError` is an `OSError`."""
DATABASE_OUTAGES: Final[tuple[type[Exception], ...]] = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.TransactionRollbackError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InvalidTransactionStateError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""The server is unreachable, starting, full or read-only, or it ended this transaction: a deadlock, a time limit."""
OUTAGES: Final[tuple[type[Exception], ...]] = (TransientError, KafkaError, *DATABASE_OUTAGES)
DATA_ERRORS: Final[tuple[type[Exception], ...]] = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""PostgreSQL raises these for data that it cannot store; it will raise them again, in this process and the next."""

_CONNECTION_GONE: Final = re.compile("closed|closing|released back")
"""What asyncpg's `InterfaceError` says of a connection or pool that is gone. Its other reasons are faults of ours."""


def can_pass(error: Exception) -> bool:
    """Whether waiting may mend `error`, one of `OUTAGES`: not a missing file, nor a call that asyncpg refuses."""
    if isinstance(error, OSError):
        return error.filename is None
    return not isinstance(error, asyncpg.InterfaceError) or bool(_CONNECTION_GONE.search(str(error)))


MIN_PAUSE_S: Final = 0.3
MAX_PAUSE_S: Final = 5.0
PAUSE_RESET_S: Final = 60.0
"""An attempt that lasted this long before its outage has succeeded meanwhile."""


class Backoff:
    """Pauses between attempts, each twice as long as the one before.

    After `give_up_s` without a success it gives up; `failure` says in words what did not succeed.
    """

    def __init__(
        self,
        failure: str,
        *,
        min_pause_s: float = MIN_PAUSE_S,
        max_pause_s: float = MAX_PAUSE_S,
        give_up_s: float = math.inf,
    ) -> None:
        self._failure = failure
        self._min_pause_s = min_pause_s
        self._max_pause_s = max_pause_s
        self._give_up_s = give_up_s
        self.reset()

    def reset(self) -> None:
        """Begin anew: something has succeeded."""
        self._pause_s = self._min_pause_s
        self._since = time.monotonic()

    async def pause(self, error: Exception, *, excused: bool = False) -> None:
        """Pause after an attempt that `error` ended. Where it is `excused`, the time until now does not count.

        Raises:
            TransientError: nothing has succeeded for `give_up_s`.
            asyncio.CancelledError: the current task was cancelled, which `error` replaced.
        """
        raise_if_cancelled()
        now = time.monotonic()
        if excused:
            self._since = now
        elif now - self._since > self._give_up_s:
            raise TransientError(f"{self._failure} for {self._give_up_s:g} s") from error
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 2, self._max_pause_s)


async def retry_on_outage(
    attempt: Callable[[], Awaitable[None]],
    on_outage: Callable[[Exception], None],
    *,
    outages: tuple[type[Exception], ...] = OUTAGES,
    give_up_s: float = math.inf,
) -> None:
    """Call `attempt` until it returns, with pauses after `outages`, each of which is passed to `on_outage`.

    Raises:
        TransientError: it did not return for `give_up_s`.
        Exception: `attempt` raised another error, or `on_outage` did.
    """
    backoff = Backoff("Kafka or PostgreSQL is away", give_up_s=give_up_s)
    while True:
        started = time.monotonic()
        try:
            return await attempt()
        except outages as error:
            raise_if_cancelled()
            on_outage(error)
            if time.monotonic() - started > PAUSE_RESET_S:
                backoff.reset()
            await backoff.pause(error)

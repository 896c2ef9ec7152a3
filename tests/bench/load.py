"""Makes load with wrk and says what it saw."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from shared.errors import MilleplumesError
from tests.bench.wrk import Wrk

SCRIPTS: Final = Path(__file__).with_name("lua")
TIMEOUT: Final = "15s"
LATE_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.1
"""Each look costs broker and bench some of the CPU that is measured."""
START_SECONDS: Final = 0.5
"""After this long wrk listens to signals."""
RESULT_PREFIX: Final = b"RESULT "


class LoadError(MilleplumesError):
    """The load generator did not do what it was asked."""


class LoadResult(msgspec.Struct, frozen=True):
    """What the load generator saw.

    `requests` were answered, `refused` of them otherwise than 2xx or 3xx; `issued` actions were handed to the network,
    of which `people` were of different people; up to one request a connection was still open at the end. Where the
    load has a schedule, all but one in a hundred went out at most `late_p99_ms` after they were due, and at the end
    `owed` had been due and had not gone out. `cpu_s` is what the generator itself used, `bytes` what it was sent.
    """

    requests: int
    seconds: float
    refused: int
    broken: int
    timeouts: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    issued: int
    people: int
    late_p99_ms: float
    owed: int
    cpu_s: float
    bytes: int

    @property
    def answered(self) -> int:
        """How many requests were accepted."""
        return self.requests - self.refused

    @property
    def clean(self) -> bool:
        """Whether every request was accepted in time."""
        return not (self.refused or self.broken or self.timeouts)


class Load:
    """One run of wrk: `connections` for `seconds` against the origin `url`, under `script` with `arguments`."""

    def __init__(
        self, wrk: Wrk, url: str, script: str, arguments: Sequence[str], *, connections: int, seconds: float
    ) -> None:
        self._environment = {**os.environ, **wrk.environment, "BENCH_LUA": str(SCRIPTS)}
        self._seconds = seconds
        self._argv = [
            wrk.program,
            "--threads",
            "1",
            "--connections",
            str(connections),
            "--duration",
            f"{max(1, round(seconds))}s",
            "--timeout",
            TIMEOUT,
            "--script",
            str(SCRIPTS / script),
            url,
            "--",
            *arguments,
        ]
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> LoadResult:
        """Run to the end.

        Raises:
            LoadError: wrk failed or did not end.
        """
        self._process = process = await asyncio.create_subprocess_exec(
            *self._argv,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(self._seconds + LATE_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError:
            raise LoadError("wrk did not end in time") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        _, found, result = output.partition(RESULT_PREFIX)
        if process.returncode or not found:
            raise LoadError(f"wrk failed:\n{output.decode(errors='replace')}")
        return msgspec.json.decode(result.splitlines()[0], type=LoadResult)

    async def run_until(self, reached: Callable[[], Awaitable[bool]]) -> LoadResult:
        """Run until `reached`; what was seen until then is the result.

        Raises:
            LoadError: wrk failed or did not end.
        """
        running = asyncio.create_task(self.run())
        try:
            await asyncio.wait((running,), timeout=START_SECONDS)
            while not running.done() and not await reached():
                await asyncio.wait((running,), timeout=POLL_SECONDS)
            if self._process is not None:
                with suppress(ProcessLookupError):
                    self._process.send_signal(signal.SIGINT)
            return await running
        finally:
            running.cancel()


def host_of(url: str) -> str:
    """The Host header for `url`."""
    return urlsplit(url).netloc

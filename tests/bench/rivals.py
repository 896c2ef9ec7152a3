"""Starts the two baselines, loads them and reads how far they came."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT
from deploy.local.ports import HOST
from shared.topics import SIGNATURES
from tests.bench.baselines.signature import TOPIC
from tests.bench.baselines.table import SCHEMA
from tests.bench.load import Load, LoadResult, host_of
from tests.bench.stand import Stand, StandError

DATABASE: Final = "bench"
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.05
COUNT_POLL_SECONDS: Final = 0.2
QUIET_SECONDS: Final = 1.5
DRAIN_SECONDS: Final = 180.0
UVICORN: Final = ("uvicorn", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")


Variant = Literal["tutorial", "quiet", "acked", "one_process"]
"""FastStream as in its tutorial; without its log; acknowledging after each message; in the web's process."""


class StreamingResult(NamedTuple):
    """`counted_per_s` is what was taken over the time until the last of it was counted, `drain_s` after the load."""

    accepted_per_s: float
    counted_per_s: float
    drain_s: float


class Rivals:
    """Both baselines on the platform of `stand`, each in its own processes, on `port`, with a table of their own."""

    def __init__(self, at: Endpoints, port: int, database_url: str) -> None:
        self._url = f"http://{HOST}:{port}"
        self._port = port
        self._database_url = database_url
        self._log = Path(at["logs"]) / "rivals.log"
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "DATABASE_URL": database_url,
            "KAFKA_BOOTSTRAP_SERVERS": at["kafka"],
        }

    async def asyncpg_per_s(self, stand: Stand, *, connections: int, seconds: float) -> float:
        """Signatures a second that FastAPI and asyncpg take and have stored: a request is a transaction."""
        async with self._running(self._web("fastapi_asyncpg:app")):
            seen, stored = await self._load(stand, connections=connections, seconds=seconds)
        if not seen.people - connections <= stored <= seen.people:
            raise StandError(f"FastAPI and asyncpg stored {stored:,} of {seen.people:,} people")
        return seen.answered / seen.seconds

    async def faststream(self, stand: Stand, variant: Variant, *, connections: int, seconds: float) -> StreamingResult:
        """What a FastStream program takes in `seconds`, and how long it is until the last of it is counted.

        Raises:
            StandError: it lost some, or does not come to an end.
        """
        programs = _faststream_programs(variant, self._web)
        self._environment["QUIET"] = "1" if variant == "quiet" else ""
        self._environment["ACKED"] = "1" if variant == "acked" else ""
        async with AsyncExitStack() as running:
            for argv in programs:
                await running.enter_async_context(self._running(argv))
            await self._until_counting(stand)
            before = await self._rows()
            seen, _ = await self._load(stand, connections=connections, seconds=seconds)
            drain_s = await self._drained()
            stored = await self._rows() - before
        if not seen.people - connections <= stored <= seen.people:
            raise StandError(f"FastStream ({variant}) counted {stored:,} of {seen.people:,} people")
        whole = seen.seconds + drain_s
        return StreamingResult(seen.answered / seen.seconds, seen.answered / whole, drain_s)

    async def _drained(self) -> float:
        """Seconds from now until the last new row, which none follows for a while."""
        began = last = time.monotonic()
        rows = await self._rows()
        while (now := time.monotonic()) - last < QUIET_SECONDS:
            if now - began > DRAIN_SECONDS:
                raise StandError("a FastStream program does not come to an end")
            await asyncio.sleep(COUNT_POLL_SECONDS)
            if (found := await self._rows()) != rows:
                rows, last = found, time.monotonic()
        return last - began

    def _web(self, app: str) -> tuple[str, ...]:
        place = ("--host", HOST, "--port", str(self._port))
        return (sys.executable, "-m", *UVICORN, *place, f"tests.bench.baselines.{app}")

    async def _load(self, stand: Stand, *, connections: int, seconds: float) -> tuple[LoadResult, int]:
        """What the load generator saw, and the rows stored meanwhile."""
        await self._until_up()
        arguments = (stand.petition, stand.new_tag(), host_of(self._url))
        load = Load(stand.wrk, self._url, "signatures.lua", arguments, connections=connections, seconds=seconds)
        before = await self._rows()
        seen = await load.run()
        stored = await self._rows() - before
        if not seen.clean:
            raise StandError(f"a baseline refused {seen.refused}, broke {seen.broken}, was late for {seen.timeouts}")
        return seen, stored

    async def _until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, self._port)
                writer.close()
                return
            if time.monotonic() > deadline:
                raise StandError("a baseline did not start")
            await asyncio.sleep(POLL_SECONDS)

    async def _until_counting(self, stand: Stand) -> None:
        """Have one signature counted: the counter has joined its group then."""
        await self._until_up()
        rows = await self._rows()
        answer = await stand.http.post(f"{self._url}/v1/signatures", json=_signature(stand.petition, stand.new_tag()))
        answer.raise_for_status()
        deadline = time.monotonic() + START_SECONDS
        while await self._rows() == rows:
            if time.monotonic() > deadline:
                raise StandError("the FastStream baseline counts nothing")
            await asyncio.sleep(POLL_SECONDS)

    async def _rows(self) -> int:
        connection = await asyncpg.connect(self._database_url, timeout=10)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM signatures"))
        finally:
            await connection.close(timeout=10)

    @asynccontextmanager
    async def _running(self, argv: tuple[str, ...]) -> AsyncIterator[None]:
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield
        finally:
            await _end(process)


def _faststream_programs(variant: Variant, web: Callable[[str], tuple[str, ...]]) -> list[tuple[str, ...]]:
    if variant == "one_process":
        return [web("faststream_in_fastapi:web")]
    return [(sys.executable, "-m", "tests.bench.baselines.faststream_tutorial"), web("faststream_tutorial:web")]


@asynccontextmanager
async def rivals(at: Endpoints, port: int, topic_settings: Mapping[str, str]) -> AsyncIterator[Rivals]:
    """The baselines with an empty table and a topic under the same settings as ours."""
    administrator = urlsplit(at["administrator"])
    url = urlunsplit(administrator._replace(path=f"/{DATABASE}"))
    connection = await asyncpg.connect(at["administrator"], timeout=10)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close(timeout=10)
    connection = await asyncpg.connect(url, timeout=10)
    await connection.execute(SCHEMA)
    await connection.close(timeout=10)
    await _create_topic(at["kafka"], topic_settings)
    yield Rivals(at, port, url)


async def _create_topic(bootstrap_servers: str, settings: Mapping[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        if TOPIC not in await admin.list_topics():
            topic = NewTopic(TOPIC, SIGNATURES.partitions, 1, topic_configs=dict(settings))
            await admin.create_topics([topic])
    finally:
        await admin.close()


def _signature(petition: str, tag: str) -> dict[str, Any]:
    return {
        "petition": petition,
        "given_name": "Ana",
        "family_name": "Diaz",
        "email": f"first.{tag}@example.org",
        "country": "FR",
        "locale": "fr",
        "consent": {"privacy": True},
    }


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

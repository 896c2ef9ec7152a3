"""Starts the two baselines, loads them and reads how far they came."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT
from deploy.local.ports import HOST
from shared.topics import SIGNATURES
from tests.bench.baselines.signature import TOPIC
from tests.bench.baselines.table import SCHEMA
from tests.bench.load import Load, Seen, host_of
from tests.bench.stand import Stand, StandError

DATABASE: Final = "bench"
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.05
UVICORN: Final = ("uvicorn", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")


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

    async def faststream_per_s(
        self, stand: Stand, *, connections: int, seconds: float, quiet: bool = False
    ) -> tuple[float, float]:
        """Signatures a second that the FastStream tutorial takes, and that it counts while it takes them.

        `quiet` leaves out the lines that FastStream logs for each message.
        """
        self._environment["QUIET"] = "1" if quiet else ""
        counter = (sys.executable, "-m", "tests.bench.baselines.faststream_tutorial")
        async with self._running(counter), self._running(self._web("faststream_tutorial:web")):
            await self._until_counting(stand)
            seen, rows = await self._load(stand, connections=connections, seconds=seconds)
        # Rows are of distinct people; the handler has seen the repeats between them too.
        return seen.answered / seen.seconds, rows * seen.issued / seen.people / seen.seconds

    def _web(self, app: str) -> tuple[str, ...]:
        place = ("--host", HOST, "--port", str(self._port))
        return (sys.executable, "-m", *UVICORN, *place, f"tests.bench.baselines.{app}")

    async def _load(self, stand: Stand, *, connections: int, seconds: float) -> tuple[Seen, int]:
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

"""A real server with our protocol, in the test's own event loop, and a raw connection to it."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from shared.http.client import Client
from shared.http.fast_routes import FastAnswer, FastRoute
from shared.http.limits import ConnectionLimits
from shared.http.protocol import RAW_TRANSPORT, FastProtocol
from shared.http.server import _Server
from shared.http.service import add_fast_route, client_of, create_app
from shared.settings import ServiceSettings

DEADLINE = 10.0
LARGE_BYTES = 32 * 1024 * 1024
"""More than the buffers of both ends of a connection hold."""
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass
class Taken:
    """A hot request that waits for the test to answer it."""

    body: bytes
    headers: Mapping[bytes, bytes]
    client: Client
    answer: FastAnswer


@dataclass
class HotStage:
    """A hot route under the test's hand: `taken` holds what waits, bodies with "leave" go to the ordinary route.

    What `/patient` is asked waits for the `curtain`.
    """

    taken: list[Taken] = field(default_factory=list)
    ordinary: list[bytes] = field(default_factory=list)
    at_once: bool = False
    curtain: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, body: bytes, headers: Mapping[bytes, bytes], client: Client, answer: FastAnswer) -> bool:
        if b"raise" in body:
            raise ValueError("Zyxwvut")
        if b"leave" in body:
            return False
        if b"refuse" in body:
            answer.unavailable()
            return True
        if self.at_once:
            answer.accepted(body)
            return True
        self.taken.append(Taken(body, headers, client, answer))
        self.arrived.set()
        return True

    async def next(self) -> Taken:
        """The oldest request that waits."""
        async with asyncio.timeout(DEADLINE):
            while not self.taken:
                self.arrived.clear()
                await self.arrived.wait()
        return self.taken.pop(0)


def application(stage: HotStage, limits: ConnectionLimits) -> FastAPI:
    """An application with one hot route and some ordinary ones."""
    settings = ServiceSettings(database_url="postgresql://nobody@127.0.0.1/none", port=1, trusted_proxies=())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    app = create_app(service="petitions", title="T", settings=settings, lifespan=lifespan, routers=[], readiness=dict)
    app.state.connection_limits = limits

    @app.post("/v1/signatures", status_code=202)
    async def ordinary(request: Request) -> JSONResponse:
        stage.ordinary.append(await request.body())
        return JSONResponse({"ordinary": len(stage.ordinary), "client": client_of(request).address}, 202)

    @app.post("/unread")
    async def unread() -> dict[str, bool]:
        return {"read": False}

    @app.get("/slow")
    async def slow() -> StreamingResponse:
        async def lines() -> AsyncIterator[bytes]:
            for number in range(3):
                await asyncio.sleep(0.02)
                yield b"%d\n" % number

        return StreamingResponse(lines())

    @app.post("/patient")
    async def patient(request: Request) -> dict[str, int]:
        length = len(await request.body())
        await stage.curtain.wait()
        return {"length": length}

    _add_long_routes(app)
    add_fast_route(app, FastRoute("/v1/signatures", 64 * 1024, stage.take))
    return app


def _add_long_routes(app: FastAPI) -> None:
    @app.get("/large")
    async def large() -> Response:
        return Response(bytes(LARGE_BYTES))

    @app.get("/lent")
    async def lent(request: Request) -> StreamingResponse:
        async def lines() -> AsyncIterator[bytes]:
            yield b"first\n"
            transport = request.scope["extensions"][RAW_TRANSPORT]()
            transport.write(bytes(LARGE_BYTES))
            await asyncio.Event().wait()

        return StreamingResponse(lines())

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def lines() -> AsyncIterator[bytes]:
            yield b"first\n"
            await asyncio.Event().wait()

        return StreamingResponse(lines())


@dataclass
class Serving:
    """A running server."""

    server: _Server
    port: int
    app: FastAPI

    async def connect(self) -> Line:
        """A new connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        return Line(reader, writer)

    def sweep(self, seconds_later: float) -> None:
        """What the server would do to its connections `seconds_later`."""
        now = asyncio.get_running_loop().time() + seconds_later
        for connection in tuple(self.server.server_state.connections):
            connection.check(now)  # type: ignore[union-attr]


@dataclass
class Line:
    """One connection, spoken to in bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(DEADLINE):
            await self.writer.drain()

    async def answer(self) -> tuple[int, bytes, bytes]:
        """(status, head, body) of the next answer."""
        async with asyncio.timeout(DEADLINE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 100"):
                head = await self.reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await self.reader.readexactly(int(length.group(1))) if length else b""
        return int(head.split()[1]), head.lower(), body

    async def ended(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(DEADLINE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def reset(self) -> None:
        """Be gone at once, as a client whose machine has failed."""
        gone = self.writer.get_extra_info("socket")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def until(holds: Callable[[], object]) -> None:
    """Wait until `holds()`, for what tells nobody when it changes."""
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def post(body: bytes, *headers: str, path: str = "/v1/signatures", content_type: str = "application/json") -> bytes:
    """A request as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


@asynccontextmanager
async def serving(
    stage: HotStage, *, limits: ConnectionLimits | None = None, change: Callable[[FastAPI], None] | None = None
) -> AsyncIterator[Serving]:
    """A server around `application`, stopped gracefully at the end."""
    app = application(stage, limits or ConnectionLimits())
    if change is not None:
        change(app)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=FastProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=5,
    )
    server = _Server(config)
    running = asyncio.create_task(server._serve([listener]))
    try:
        await until(lambda: server.started)
        yield Serving(server, listener.getsockname()[1], app)
    finally:
        server.should_exit = True
        async with asyncio.timeout(DEADLINE):
            await running


def trust_everyone(app: FastAPI) -> None:
    """Believe the forwarding headers of the loopback."""
    from shared.http.client import Clients

    app.state.clients = Clients((ip_network("127.0.0.0/8"),), None)

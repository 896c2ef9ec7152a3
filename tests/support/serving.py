"""A real server with `FastProtocol` in the test's own event loop, and raw connections to it."""

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
from shared.http.connection import RAW_TRANSPORT
from shared.http.fast_routes import FastResponder, FastRoute
from shared.http.limits import ConnectionLimits
from shared.http.protocol import FastProtocol
from shared.http.server import _Server
from shared.http.service import add_fast_route, create_app, resolve_client
from shared.settings import ServiceSettings

DEADLINE = 10.0
LARGE_BYTES = 32 * 1024 * 1024
"""More than the buffers at both ends of a connection hold."""
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass
class PendingRequest:
    """A fast request that the test has yet to answer."""

    body: bytes
    headers: Mapping[bytes, bytes]
    client: Client
    answer: FastResponder


@dataclass
class FastRouteStub:
    """A fast route that the test controls: `pending` holds its requests, bodies with "leave" go to the ordinary route.

    `/patient` answers once `gate` is set.
    """

    pending: list[PendingRequest] = field(default_factory=list)
    ordinary_bodies: list[bytes] = field(default_factory=list)
    answer_immediately: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    received: asyncio.Event = field(default_factory=asyncio.Event)

    def handle(self, body: bytes, headers: Mapping[bytes, bytes], client: Client, answer: FastResponder) -> bool:
        if b"raise" in body:
            raise ValueError("Zyxwvut")
        if b"leave" in body:
            return False
        if b"refuse" in body:
            answer.send_unavailable()
            return True
        if self.answer_immediately:
            answer.send_accepted(body)
            return True
        self.pending.append(PendingRequest(body, headers, client, answer))
        self.received.set()
        return True

    async def next_request(self) -> PendingRequest:
        """Wait for a pending request, and return the oldest."""
        async with asyncio.timeout(DEADLINE):
            while not self.pending:
                self.received.clear()
                await self.received.wait()
        return self.pending.pop(0)


def create_test_app(route: FastRouteStub, limits: ConnectionLimits) -> FastAPI:
    """Create an application with one fast route and some ordinary ones."""
    settings = ServiceSettings(database_url="postgresql://nobody@127.0.0.1/none", port=1, trusted_proxies=())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    app = create_app(service="petitions", title="T", settings=settings, lifespan=lifespan, routers=[], readiness=dict)
    app.state.connection_limits = limits

    @app.post("/v1/signatures", status_code=202)
    async def ordinary(request: Request) -> JSONResponse:
        route.ordinary_bodies.append(await request.body())
        return JSONResponse({"ordinary": len(route.ordinary_bodies), "client": resolve_client(request).address}, 202)

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
        await route.gate.wait()
        return {"length": length}

    _add_long_routes(app)
    add_fast_route(app, FastRoute("/v1/signatures", 64 * 1024, route.handle))
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
class RunningServer:
    """A running server."""

    server: _Server
    port: int
    app: FastAPI

    async def connect(self) -> RawClient:
        """Open a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        return RawClient(reader, writer)

    def enforce_time_limits(self, seconds_later: float) -> None:
        """Enforce the time limits of all connections as `seconds_later`."""
        now = asyncio.get_running_loop().time() + seconds_later
        for connection in tuple(self.server.server_state.connections):
            connection.enforce_time_limits(now)  # type: ignore[union-attr]


@dataclass
class RawClient:
    """One connection on which the test writes and reads bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(DEADLINE):
            await self.writer.drain()

    async def read_response(self) -> tuple[int, bytes, bytes]:
        """Read the next answer and return its (status, head, body)."""
        async with asyncio.timeout(DEADLINE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 100"):
                head = await self.reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await self.reader.readexactly(int(length.group(1))) if length else b""
        return int(head.split()[1]), head.lower(), body

    async def read_to_end(self) -> bytes:
        """Return all bytes until the server closes."""
        async with asyncio.timeout(DEADLINE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def reset(self) -> None:
        """Reset the connection, as a client whose machine has failed."""
        connected_socket = self.writer.get_extra_info("socket")
        connected_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def wait_until(condition: Callable[[], object]) -> None:
    """Poll until `condition()` is true, for state without notifications."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def post(body: bytes, *headers: str, path: str = "/v1/signatures", content_type: str = "application/json") -> bytes:
    """Return a POST request as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


@asynccontextmanager
async def run_server(
    route: FastRouteStub, *, limits: ConnectionLimits | None = None, configure: Callable[[FastAPI], None] | None = None
) -> AsyncIterator[RunningServer]:
    """Run a server with the test application, and stop it gracefully at the end."""
    app = create_test_app(route, limits or ConnectionLimits())
    if configure is not None:
        configure(app)
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
    task = asyncio.create_task(server._serve([listener]))
    try:
        await wait_until(lambda: server.started)
        yield RunningServer(server, listener.getsockname()[1], app)
    finally:
        server.should_exit = True
        async with asyncio.timeout(DEADLINE):
            await task


def trust_loopback_proxies(app: FastAPI) -> None:
    """Believe the forwarding headers of the loopback."""
    from shared.http.client import ClientResolver

    app.state.client_resolver = ClientResolver((ip_network("127.0.0.0/8"),), None)

"""The process of a service: its command line, and the server that runs its application until a signal stops it."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, TypeVar, cast, get_args

import uvicorn
from fastapi import FastAPI

from shared.http.protocol import FastProtocol
from shared.logging import configure
from shared.settings import ServiceSettings

Settings = TypeVar("Settings", bound=ServiceSettings)

GRACEFUL_SECONDS: Final = 10
KEEP_ALIVE_SECONDS: Final = 65
"""Longer than the 60 s after which common gateways drop an idle upstream connection, so that they close first."""
BACKLOG: Final = 4096
GC_THRESHOLDS: Final = (50_000, 50, 100)
"""Requests leave no reference cycles; rare collections keep pauses out of the tail latency."""

TICKS_PER_SECOND: Final = 10
"""uvicorn's main loop ticks every 0.1 s."""


class _Server(uvicorn.Server):
    """A server that ends with status 0 on a signal, and notifies the application first."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app: FastAPI = self.config.app  # type: ignore[assignment]
        app.state.closing.set()
        await super().shutdown(sockets=sockets)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_SECOND == 0:
            now = asyncio.get_running_loop().time()
            for connection in tuple(self.server_state.connections):
                cast("FastProtocol", connection).enforce_time_limits(now)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def run_service(
    service: str,
    description: str,
    roles: Any,
    create: Callable[[Settings, Any], FastAPI],
    read_settings: Callable[[], Settings],
    *,
    default: str,
) -> None:
    """Serve the application that `create` makes for the role on the command line, until the process is stopped.

    `roles` is the `Literal` of the roles, of which `default` is one.
    """
    parser = argparse.ArgumentParser(prog=f"python -m services.{service}", description=description)
    parser.add_argument("--role", choices=get_args(roles), default=default)
    role = parser.parse_args().role
    settings = read_settings()
    configure(service, role, settings.log_format)
    serve(create(settings, role), settings)


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve `app` on the host and port of `settings`, and return after a graceful stop.

    Several processes may share one port (`SO_REUSEPORT`): the kernel spreads connections over them. Each then has
    its own `probe_port`, which serves the same routes.

    Raises:
        OSError: the address is in use or not local.
        SystemExit: the application did not start.
    """
    ports = [port for port in (settings.port, settings.probe_port) if port is not None]
    listeners = [_listen(settings.host, port) for port in ports]
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=FastProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
    _Server(config).run(sockets=listeners)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener

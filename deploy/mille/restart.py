"""`mille restart`: restart the processes of one service of the platform that `mille run` keeps up."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Final

import typer

from deploy.local import endpoints
from deploy.local.endpoints import RunningProcess
from deploy.local.home import Home
from deploy.local.pids import PidFiles
from deploy.local.processes import GRACE_SECONDS, READY_SECONDS, ready
from deploy.local.settings import LocalSettings
from shared.errors import SetupError, TransientError

POLL_SECONDS: Final = 0.1

app = typer.Typer(add_completion=False)


@app.command()
def restart(service: Annotated[str, typer.Argument(help="marathon, petitions, letters or notifications")]) -> None:
    """Restart the processes of SERVICE one after another; returns once each is ready again. Example: mille restart
    petitions

    Each ends as on Ctrl-C, what it has in hand first; `mille run` starts it again.
    """
    home = LocalSettings().home
    at = endpoints.read(home)
    if not home.in_use():
        raise SetupError(f"no `mille run` keeps up what runs here: use docker compose restart {service}")
    chosen = [process for process in at["processes"] if process["service"] == service]
    if not chosen:
        running = dict.fromkeys(process["service"] for process in at["processes"])
        raise SetupError(f"there is no service {service} here; there is {', '.join(running) or 'none'}")
    for process in chosen:
        started = time.monotonic()
        PidFiles(home.run).end(process["pid"], GRACE_SECONDS)
        asyncio.run(_wait_until_ready(home, process))
        print(f"{service} {process['role']} is ready again after {time.monotonic() - started:.1f} s")


async def _wait_until_ready(home: Home, before: RunningProcess) -> None:
    """Wait until another process than `before` has its place and is ready.

    Raises:
        TransientError: none is within two minutes. SetupError: the platform ended meanwhile.
    """
    name, port = f"{before['service']} {before['role']}", endpoints.probe_port(before)
    deadline = time.monotonic() + READY_SECONDS
    while not (_pid(home, before) not in {0, before["pid"]} and await ready(port)):
        if time.monotonic() > deadline:
            raise TransientError(f"{name} is not ready after {READY_SECONDS:g} s: read its log in {home.logs}")
        await asyncio.sleep(POLL_SECONDS)


def _pid(home: Home, process: RunningProcess) -> int:
    """Return the id of the process that has the place of `process` now."""
    processes = endpoints.read(home)["processes"]
    return next((each["pid"] for each in processes if each["metrics"] == process["metrics"]), 0)

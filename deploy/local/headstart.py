"""Gives the broker a head start: runs it once in a throw-away folder and keeps what Java learned about its classes.

`make setup` runs `python -m deploy.local.headstart`. Without the result, or on another machine, the broker only starts
slower: Java checks by itself whether it fits.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.local import kafka, topics
from deploy.local.home import PROJECT, Home
from deploy.local.ports import HOST
from deploy.local.settings import LocalSettings

START_SECONDS: Final = 120.0
LEARN_SECONDS: Final = 180.0
POLL_SECONDS: Final = 0.2


def main() -> None:
    """Run the broker, make the topics, stop it, and keep what Java writes when it ends."""
    kafka.HEAD_START.unlink(missing_ok=True)
    with _throw_away_home() as home:
        draft = home.root / "kafka.aot"
        settings = LocalSettings(
            mille_home=str(home.root),
            kafka_bootstrap_servers="",
            kafka_port=_free_port(),
            kafka_controller_port=_free_port(),
        )
        kafka.prepare(home, settings)
        with (home.logs / "kafka.log").open("wb") as log:
            process = subprocess.Popen(
                kafka.command(home, f"-XX:AOTCacheOutput={draft}"),
                env=kafka.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                _use(settings, process)
                process.terminate()
                process.wait(LEARN_SECONDS)
            finally:
                process.kill()
                process.wait()
        if draft.exists():
            draft.replace(kafka.HEAD_START)


def _use(settings: LocalSettings, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not asyncio.run(kafka.answers(settings.bootstrap_servers)):
        if process.poll() is not None or time.monotonic() > deadline:
            return
        time.sleep(POLL_SECONDS)
    asyncio.run(topics.create(settings.bootstrap_servers, flush=True, production=False))


@contextlib.contextmanager
def _throw_away_home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="headstart-", dir=PROJECT / ".cache"))
    home = Home(folder)
    home.make()
    try:
        yield home
    finally:
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()

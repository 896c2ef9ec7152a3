"""The composition root of `mille run`: brings everything up in order, keeps it up, takes it down."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote

from deploy.local import databases, endpoints, kafka, keys, ports, postgres, processes, topics
from deploy.local.home import PROJECT, Home
from deploy.local.passwords import passwords
from deploy.local.pids import PidFiles
from deploy.local.program import Program
from deploy.local.settings import LocalSettings
from deploy.local.supervisor import Supervisor
from shared import migrations
from shared.errors import SetupError

PLATFORM_PORTS: Final = ("kafka_port", "kafka_controller_port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to bring up: the broker and the databases alone, or the services too, with or without mail."""

    platform_only: bool = False
    mail: bool = True


async def run(
    settings: LocalSettings,
    options: Options,
    say: Callable[[str], None],
    on_up: Callable[[endpoints.Endpoints], Awaitable[None]] | None = None,
) -> None:
    """Bring the platform up, and keep it up until SIGINT, SIGTERM, or the end of `on_up`, which runs once it is.

    Raises:
        SetupError: something cannot start or cannot be kept running; the message says how to mend it.
    """
    home = settings.home
    _make(home)
    with _alone(home):
        pids = PidFiles(home.run)
        home.endpoints.unlink(missing_ok=True)
        pids.end_leftovers(say)
        platform = _Platform(settings, options, Supervisor(pids, say), say)
        ports.check(platform.ports())
        _raise_open_files()
        stop = _stop_on_signals(platform.supervisor, say)
        try:
            await _until(stop, platform.bring_up())
            if stop.is_set():
                return
            if on_up is not None:
                await _until(stop, platform.while_up(on_up(platform.endpoints())))
            else:
                await _until(stop, platform.supervisor.failed())
        finally:
            say("Stopping")
            home.endpoints.unlink(missing_ok=True)
            await platform.supervisor.stop()
            say("Stopped")


class _Platform:
    def __init__(
        self, settings: LocalSettings, options: Options, supervisor: Supervisor, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._home = settings.home
        self._options = options
        self._say = say
        self.supervisor = supervisor
        self._places = [] if options.platform_only else processes.placed(settings, mail=options.mail)
        self._administrator = settings.database_url or _administrator_url(settings)
        self._databases = databases.urls(self._home, self._administrator)

    def ports(self) -> dict[str, int]:
        """The ports that we shall listen on, by the setting that names each."""
        settings = self._settings
        names = [
            *(PLATFORM_PORTS if settings.own_kafka else ()),
            *(("postgres_port",) if settings.own_postgres else ()),
            *(("smtp_port",) if self._has_mailbox else ()),
        ]
        return {name: getattr(settings, name) for name in names} | {
            place.process.port: place.port for place in self._places
        }

    async def bring_up(self) -> None:
        """Start the broker, the server and the mailbox, set them up, start the services, and say where all is."""
        started = time.monotonic()
        keys.create(self._home)
        await self.supervisor.start(*await self._foundations())
        self._say("Kafka and PostgreSQL are up")
        await asyncio.gather(self._set_up_topics(), self._set_up_databases())
        await self.supervisor.start(
            *(
                processes.program(self._home, self._settings, place, self._databases[place.process.service])
                for place in self._places
            )
        )
        self.supervisor.on_change = self._write
        self._write()
        self._say(f"Up after {time.monotonic() - started:.1f} s")
        for line in _addresses(self.endpoints(), services=bool(self._places)):
            self._say(line)

    async def while_up(self, work: Awaitable[None]) -> None:
        """Do `work`, unless a program cannot be kept running before it ends."""
        doing = asyncio.ensure_future(work)
        failing = asyncio.ensure_future(self.supervisor.failed())
        try:
            done, _ = await asyncio.wait((doing, failing), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            doing.cancel()
            failing.cancel()

    def endpoints(self) -> endpoints.Endpoints:
        """Where everything is at the moment."""
        pids = {name: child.pid for name, child in self.supervisor.children.items()}
        return endpoints.describe(self._settings, self._databases, self._administrator, self._places, pids)

    @property
    def _has_mailbox(self) -> bool:
        return self._settings.own_mailbox and self._options.mail

    def _write(self) -> None:
        endpoints.write(self._home, self.endpoints())

    async def _foundations(self) -> list[Program]:
        home, settings = self._home, self._settings
        broker, server = await asyncio.gather(
            asyncio.to_thread(self._broker) if settings.own_kafka else _nothing(),
            asyncio.to_thread(self._server) if settings.own_postgres else _nothing(),
        )
        mailbox = _mailbox(home, settings) if self._has_mailbox else None
        return [program for program in (broker, server, mailbox) if program is not None]

    def _broker(self) -> Program:
        kafka.prepare(self._home, self._settings)
        return kafka.program(self._home, self._settings)

    def _server(self) -> Program:
        secret = passwords(self._home, postgres.ADMINISTRATOR)[postgres.ADMINISTRATOR]
        server = postgres.prepare(self._home, secret)
        return postgres.program(self._home, self._settings, server, self._administrator)

    async def _set_up_topics(self) -> None:
        settings = self._settings
        for difference in await topics.create(
            settings.bootstrap_servers, flush=settings.flush, production=settings.environment == "production"
        ):
            if difference.setting != "topic":
                self._say(f"Mended {difference}")

    async def _set_up_databases(self) -> None:
        await databases.create(self._administrator, self._databases, whole_server=self._settings.own_postgres)
        await asyncio.to_thread(self._migrate)

    def _migrate(self) -> None:
        for service, url in self._databases.items():
            if (migrations.SERVICES / service / "migrations" / "versions").is_dir():
                migrations.upgrade(service, url)


def _make(home: Home) -> None:
    try:
        home.make()
    except PermissionError as error:
        raise SetupError(f"{error.filename} belongs to another user: name another folder in MILLE_HOME") from error


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Hold the home's lock: the system lets go of it when we end, however we end."""
    with home.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise SetupError(f"a platform is up in {home.root} already (process {file.read().strip()})") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _raise_open_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _stop_on_signals(supervisor: Supervisor, say: Callable[[str], None]) -> asyncio.Event:
    """An event that the first SIGINT, SIGTERM or SIGHUP sets; a second one ends everything at once."""
    stop = asyncio.Event()

    def asked() -> None:
        if stop.is_set():
            say("Ending everything at once")
            supervisor.kill()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked)
    return stop


async def _until(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Do `work`, or leave it when `stop` is set."""
    doing = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
    finally:
        doing.cancel()
        stopping.cancel()
        await asyncio.wait((doing, stopping))


async def _nothing() -> None:
    return None


def _administrator_url(settings: LocalSettings) -> str:
    secret = passwords(settings.home, postgres.ADMINISTRATOR)[postgres.ADMINISTRATOR]
    return f"postgresql://{postgres.ADMINISTRATOR}:{quote(secret)}@{ports.HOST}:{settings.postgres_port}/postgres"


def _mailbox(home: Home, settings: LocalSettings) -> Program:
    return Program(
        name="mailbox",
        argv=(
            sys.executable,
            "-m",
            "deploy.local.mailbox",
            "--port",
            str(settings.smtp_port),
            "--folder",
            str(home.mailbox),
        ),
        environment={**os.environ, "PYTHONPATH": str(PROJECT)},
        log=home.logs / "mailbox.log",
        ready=partial(kafka.listens, f"{ports.HOST}:{settings.smtp_port}"),
        grace=5.0,
    )


def _addresses(at: endpoints.Endpoints, *, services: bool) -> list[str]:
    if not services:
        return [
            f"  Kafka       {at['kafka']}",
            f"  mailbox     {at['smtp']}  {at['mailbox']}",
            f"  logs        {at['logs']}",
        ]
    return [
        f"  front door  {at['marathon']}",
        f"  petitions   {at['petitions']}",
        f"  letters     {at['letters']}",
        f"  mail        {at['notifications']}  (caught in {at['mailbox']})",
        f"  logs        {at['logs']}",
        "Ctrl-C stops everything",
    ]

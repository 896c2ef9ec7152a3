"""The composition root of `mille run`: start everything in order, keep it running, stop it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote

import asyncpg
from aiokafka.errors import KafkaError

from deploy.local import cancellation, databases, endpoints, kafka, keys, ports, postgres, processes, topics
from deploy.local.cancellation import run_all, run_until_first_ends
from deploy.local.home import Home
from deploy.local.passwords import passwords
from deploy.local.pids import PidFiles
from deploy.local.program import Program
from deploy.local.settings import LocalSettings
from deploy.local.supervisor import Supervisor
from shared.errors import SetupError

PLATFORM_PORTS: Final = ("kafka_port", "kafka_controller_port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The parts to start: the broker and the databases alone, or the services too, with or without mail."""

    platform_only: bool = False
    mail: bool = True


async def run(
    settings: LocalSettings,
    options: Options,
    print_line: Callable[[str], None],
    on_up: Callable[[endpoints.Endpoints], Awaitable[None]] | None = None,
) -> bool:
    """Start the platform, and keep it up until SIGINT, SIGTERM or the end of `on_up`, which runs once it is up.

    Returns:
        Whether a signal ended it.

    Raises:
        SetupError: something cannot start or cannot be kept running; the message says what to do.
    """
    if sys.platform != "linux":
        raise SetupError("the local platform needs Linux; elsewhere, use `docker compose up`")
    home = settings.home
    _make_home(home)
    with _home_lock(home):
        pids = PidFiles(home.run)
        home.endpoints.unlink(missing_ok=True)
        pids.end_leftovers(print_line)
        platform = _Platform(settings, options, Supervisor(pids, print_line), print_line)
        ports.check_free(platform.ports())
        _raise_open_files()
        stop = cancellation.stop_on_signals(on_repeat=platform.supervisor.kill)
        try:
            await run_until_first_ends(stop.wait(), platform.bring_up())
            if not stop.is_set():
                work = on_up(platform.endpoints()) if on_up else stop.wait()
                await run_until_first_ends(stop.wait(), platform.supervisor.wait_for_failure(), work)
        finally:
            print_line("Stopping")
            home.endpoints.unlink(missing_ok=True)
            await platform.supervisor.stop()
            print_line("Stopped")
        return stop.is_set()


class _Platform:
    def __init__(
        self, settings: LocalSettings, options: Options, supervisor: Supervisor, print_line: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._home = settings.home
        self._options = options
        self._print_line = print_line
        self.supervisor = supervisor
        self._instances = [] if options.platform_only else processes.process_instances(settings, mail=options.mail)
        self._administrator = settings.database_url or _administrator_url(settings)
        self._databases = databases.urls(self._home, self._administrator)

    def ports(self) -> list[tuple[str, int]]:
        """Return the ports to listen on, each with the setting that names it."""
        settings = self._settings
        names = [
            *(PLATFORM_PORTS if settings.own_kafka else ()),
            *(("postgres_port",) if settings.own_postgres else ()),
            *(("smtp_port",) if self._has_mailbox else ()),
        ]
        return [(name, getattr(settings, name)) for name in names] + sorted(
            {
                (instance.process.port, port)
                for instance in self._instances
                for port in (instance.port, instance.probe_port)
            }
        )

    async def bring_up(self) -> None:
        """Start and set up the broker, the database server and the mailbox, start the services, print the addresses."""
        started = time.monotonic()
        keys.create(self._home)
        await run_all(self._bring_up_kafka(), self._bring_up_postgres(), self._bring_up_mailbox())
        self._print_line("Kafka and PostgreSQL are up")
        await self.supervisor.start(
            [
                processes.program(self._home, self._settings, instance, self._databases[instance.process.service])
                for instance in self._instances
            ]
        )
        self.supervisor.on_change = self._write_endpoints
        self._write_endpoints()
        self._print_line(f"Up after {time.monotonic() - started:.1f} s")
        for line in _address_lines(self.endpoints(), services=bool(self._instances)):
            self._print_line(line)

    def endpoints(self) -> endpoints.Endpoints:
        """Return the present addresses and process ids."""
        return endpoints.describe(
            self._settings, self._databases, self._administrator, self._instances, self.supervisor.pids()
        )

    @property
    def _has_mailbox(self) -> bool:
        return self._settings.own_mailbox and self._options.mail

    def _write_endpoints(self) -> None:
        endpoints.write(self._home, self.endpoints())

    async def _bring_up_kafka(self) -> None:
        settings = self._settings
        if settings.own_kafka:
            await asyncio.to_thread(kafka.prepare, self._home, settings)
            await self.supervisor.start([kafka.program(self._home, settings)])
        servers = settings.bootstrap_servers
        try:
            mended = await topics.create(servers, flush=settings.flush, production=settings.production)
        except (KafkaError, OSError) as error:
            raise SetupError(f"the topics could not be made at {servers}: {error}") from error
        for difference in mended:
            if difference.setting != "topic":
                self._print_line(f"Mended {difference}")
        if settings.own_kafka:
            await kafka.wait_for_groups(servers)

    async def _bring_up_postgres(self) -> None:
        settings = self._settings
        if settings.own_postgres:
            secret = passwords(self._home, postgres.ADMINISTRATOR)[postgres.ADMINISTRATOR]
            server = await asyncio.to_thread(postgres.prepare, self._home, secret)
            await self.supervisor.start([postgres.program(self._home, settings, server, self._administrator)])
        try:
            await databases.create(self._administrator, self._databases, whole_server=settings.own_postgres)
            await databases.migrate(self._administrator, self._databases)
        except (OSError, asyncpg.PostgresError) as error:
            where = self._administrator.rpartition("@")[2]
            raise SetupError(f"the databases could not be made at {where}: {error}") from error

    async def _bring_up_mailbox(self) -> None:
        if self._has_mailbox:
            await self.supervisor.start([_mailbox_program(self._home, self._settings)])


def _make_home(home: Home) -> None:
    try:
        home.make()
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        raise SetupError(f"{home.root} cannot be used ({reason}): name another folder in MILLE_HOME") from error
    if home.root.stat().st_uid != os.geteuid():
        raise SetupError(f"{home.root} belongs to another user: name another folder in MILLE_HOME")


@contextmanager
def _home_lock(home: Home) -> Iterator[None]:
    """Hold the home's lock, which the system releases however the process ends."""
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


def _administrator_url(settings: LocalSettings) -> str:
    secret = passwords(settings.home, postgres.ADMINISTRATOR)[postgres.ADMINISTRATOR]
    return f"postgresql://{postgres.ADMINISTRATOR}:{quote(secret)}@{ports.HOST}:{settings.postgres_port}/postgres"


def _mailbox_program(home: Home, settings: LocalSettings) -> Program:
    return Program(
        name="mailbox",
        argv=(sys.executable, "-m", "deploy.local.mailbox", f"--port={settings.smtp_port}", f"--folder={home.mailbox}"),
        environment=os.environ,
        log=home.logs / "mailbox.log",
        ready=partial(kafka.listens, f"{ports.HOST}:{settings.smtp_port}"),
        grace_seconds=5.0,
    )


def _address_lines(at: endpoints.Endpoints, *, services: bool) -> list[str]:
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

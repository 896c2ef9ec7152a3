"""The whole system as processes, with our hand on each of them and a proxy before Kafka and PostgreSQL."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from deploy.local import databases, endpoints, kafka, keys, postgres, processes, topics
from deploy.local.home import Home, remove
from deploy.local.passwords import passwords
from deploy.local.ports import HOST
from deploy.local.program import Program
from deploy.local.settings import DEFAULT_PORTS, LocalSettings
from tests.faults import brokers, disks
from tests.faults.disks import Disk
from tests.faults.proxy import Proxy
from tests.faults.supervised_program import SupervisedProgram
from tests.support.commands import CommandResult, mille
from tests.support.post_office import SmtpServer, run_smtp_server
from tests.support.running import free_offset

COUNTERS: Final = 4
DISK_BYTES: Final = 1536 * 1024 * 1024
SMALL_LOG: Final = ("-c", "max_wal_size=256MB", "-c", "min_wal_size=64MB")
SETTLE_S: Final = 0.2
EXTRA: Final = frozenset(f"petitions-counter-{number}" for number in range(2, COUNTERS + 1))
"""Counters that are prepared but not started."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a stand consists of: how many brokers, and whether Kafka and PostgreSQL have small disks of their own."""

    brokers: int = 1
    disks: bool = False


PLAIN: Final = Layout()
CLUSTER: Final = Layout(brokers=3)
DISKS: Final = Layout(disks=True)


@dataclass
class Stand:
    """A running system.

    `supervised` are its processes by name: `broker-1`, `postgres`, `petitions-intake` and so on. The checker reads
    `kafka` and `databases` directly, past the proxies.
    """

    layout: Layout
    home: Home
    settings: LocalSettings
    brokers: list[brokers.Broker]
    smtp_server: SmtpServer
    databases: dict[str, str] = field(default_factory=dict)
    supervised: dict[str, SupervisedProgram] = field(default_factory=dict)
    kafka_proxies: list[Proxy] = field(default_factory=list)
    postgres_proxy: Proxy = field(init=False)
    kafka_disk: Disk | None = None
    postgres_disk: Disk | None = None
    ruined: bool = False
    """Whether nothing more can be learnt on it."""
    programs: dict[str, Program] = field(default_factory=dict)
    sabotage: Mapping[str, str] = field(default_factory=dict)
    """What is out of order in it on purpose, by the process's name."""

    @property
    def kafka(self) -> str:
        return brokers.internal(self.brokers)

    @property
    def services(self) -> list[SupervisedProgram]:
        """The service processes that run."""
        return [process for name, process in self.supervised.items() if name in self.programs and process.pid]

    def origin(self, service: str) -> str:
        return processes.origins(self.settings)[service]

    def metrics(self, name: str) -> str:
        """Where the process `name` tells its metrics."""
        place = next(one for one in processes.process_instances(self.settings, mail=True) if one.name == name)
        return f"http://{HOST}:{place.probe_port}/metrics"

    async def mille(self, *arguments: str) -> CommandResult:
        """Run a `mille` command as an operator would."""
        self._write_endpoints()
        return await asyncio.to_thread(mille, self.home.root, *arguments)

    async def restart(self, name: str, *, sabotage: str = "", **environment: str) -> None:
        """Start the service process `name` anew, with `environment` beside its own.

        `sabotage` names what `tests.faults.sabotage` changes in it, beside what is out of order already.
        """
        process = self.supervised[name]
        await process.stop()
        process.program = with_sabotage(self.programs[name], (self.sabotage.get(name, ""), sabotage), environment)
        await process.start()

    async def take_out(self, sabotage: Mapping[str, str]) -> None:
        """Restart with `sabotage` what has another one, or none, so far."""
        changed = {
            name for name in sabotage.keys() | self.sabotage.keys() if sabotage.get(name) != self.sabotage.get(name)
        }
        self.sabotage = sabotage
        for name in sorted(changed):
            self.supervised[name].program = with_sabotage(self.programs[name], (sabotage.get(name, ""),), {})
            if self.supervised[name].pid:
                await self.supervised[name].restart()

    def _write_endpoints(self) -> None:
        places = processes.process_instances(self.settings, mail=True)
        pids = {name: process.pid for name, process in self.supervised.items()}
        at = endpoints.describe(self.settings, self.databases, self.settings.database_url, places, pids)
        endpoints.write(self.home, at)

    @property
    def administrator(self) -> str:
        """The address of the databases' administrator, past the proxy."""
        return _administrator(self.home, self.settings.postgres_port)

    async def bring_up(self) -> None:
        """Start everything, in order."""
        keys.create(self.home)
        await asyncio.gather(self._bring_up_kafka(), self._bring_up_postgres())
        urls = databases.urls(self.home, self.settings.database_url)
        for place in processes.process_instances(self.settings, mail=True):
            program = processes.program(self.home, self.settings, place, urls[place.process.service])
            self.programs[place.name] = program
            self.supervised[place.name] = SupervisedProgram(
                with_sabotage(program, (self.sabotage.get(place.name, ""),), {})
            )
        begin = self.programs.keys() - EXTRA
        await asyncio.gather(*(process.start() for name, process in self.supervised.items() if name in begin))

    async def _bring_up_kafka(self) -> None:
        for broker in self.brokers:
            self.supervised[f"broker-{broker.number}"] = SupervisedProgram(brokers.program(broker))
            proxy = Proxy(broker.proxy, broker.clients)
            self.kafka_proxies.append(proxy)
            await proxy.start()
        await asyncio.gather(*(self.supervised[f"broker-{broker.number}"].start() for broker in self.brokers))
        await topics.create(self.kafka, flush=True, production=False)
        await kafka.wait_for_groups(self.kafka)

    async def _bring_up_postgres(self) -> None:
        home = Home(self.postgres_disk.folder) if self.postgres_disk else self.home
        secret = passwords(self.home, postgres.ADMINISTRATOR)[postgres.ADMINISTRATOR]
        direct = self.administrator
        server = await asyncio.to_thread(postgres.prepare, home, secret)
        program = postgres.program(self.home, self.settings, server, direct)
        program = replace(program, argv=(*program.argv, *SMALL_LOG))
        self.supervised["postgres"] = SupervisedProgram(program)
        self.postgres_proxy = Proxy(self.settings.postgres_port + 1, self.settings.postgres_port)
        await self.postgres_proxy.start()
        await self.supervised["postgres"].start()
        self.databases = databases.urls(self.home, direct)
        await databases.create(direct, self.databases, whole_server=True)
        await databases.migrate(direct, self.databases)

    async def take_down(self) -> None:
        """Stop everything, services first."""
        for process in self.supervised.values():
            process.signal(signal.SIGCONT)
        await asyncio.gather(
            *(process.take_down() for name, process in self.supervised.items() if name in self.programs)
        )
        await asyncio.gather(*(process.take_down() for process in self.supervised.values()))
        for proxy in (*self.kafka_proxies, *([self.postgres_proxy] if hasattr(self, "postgres_proxy") else [])):
            await proxy.close()
        # Connections that were just taken are let go of, too, before the loop may end.
        await asyncio.sleep(SETTLE_S)


def with_sabotage(program: Program, sabotage: Sequence[str], environment: Mapping[str, str]) -> Program:
    """`program` with what `sabotage` names, and further environment."""
    python, dash_m, *rest = program.argv
    names = ",".join(name for name in sabotage if name)
    argv = (python, dash_m, "tests.faults.sabotage", names, *rest) if names else program.argv
    return replace(program, argv=argv, environment={**program.environment, **environment})


@asynccontextmanager
async def open_stand(layout: Layout, sabotage: Mapping[str, str] | None = None) -> AsyncIterator[Stand]:
    """A stand, taken down and deleted at the end.

    Raises:
        NoDiskError: the layout asks for disks and this machine gives none.
    """
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="milleplumes-faults-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        home = Home(folder / "home")
        home.make()
        stack.callback(remove, home)
        smtp_server = await stack.enter_async_context(run_smtp_server())
        found = {name: _disk(stack, folder / name) if layout.disks else None for name in ("database", "broker")}
        settings = _settings(home, layout, smtp_server.port)
        made = await asyncio.to_thread(
            brokers.make_brokers,
            _broker_homes(folder, layout),
            DEFAULT_PORTS["kafka_port"] + settings.mille_port_offset,
        )
        stand = Stand(
            layout,
            home,
            settings,
            made,
            smtp_server,
            postgres_disk=found["database"],
            kafka_disk=found["broker"],
            sabotage=sabotage or {},
        )
        stack.push_async_callback(stand.take_down)
        await stand.bring_up()
        yield stand


def _disk(stack: AsyncExitStack, folder: Path) -> Disk:
    disk = disks.mount(folder, DISK_BYTES)
    stack.callback(disk.unmount)
    disk.folder.chmod(0o755)
    return disk


def _broker_homes(folder: Path, layout: Layout) -> list[Home]:
    if layout.disks:
        return [Home(folder / "broker")]
    return [Home(folder / f"broker-{number}") for number in range(1, layout.brokers + 1)]


def _settings(home: Home, layout: Layout, smtp_port: int) -> LocalSettings:
    offset = free_offset()
    first = DEFAULT_PORTS["kafka_port"] + offset
    proxies = [first + brokers.PORTS_EACH * index + brokers.PORTS_EACH - 1 for index in range(layout.brokers)]
    return LocalSettings(
        mille_home=str(home.root),
        mille_port_offset=offset,
        kafka_bootstrap_servers=",".join(f"{HOST}:{port}" for port in proxies),
        database_url=_administrator(home, DEFAULT_PORTS["postgres_port"] + offset + 1),
        smtp_host=HOST,
        smtp_port=smtp_port,
        petitions_counters=COUNTERS,
        kafka_flush="on",
        environment="development",
    )


def _administrator(home: Home, port: int) -> str:
    secret = passwords(home, postgres.ADMINISTRATOR)[postgres.ADMINISTRATOR]
    return f"postgresql://{postgres.ADMINISTRATOR}:{quote(secret)}@{HOST}:{port}/postgres"

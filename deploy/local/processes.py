"""The one list of service processes, with their ports and keys.

The local platform starts them, and a test compares the container files with the list.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from deploy.local import keys
from deploy.local.home import Home
from deploy.local.ports import HOST
from deploy.local.program import Program
from deploy.local.settings import EXTRA_PORTS, LocalSettings

KEY_SETTINGS: Final = {
    "WRAPPING_PRIVATE_KEY_FILE": keys.WRAPPING_PRIVATE,
    "WRAPPING_PUBLIC_KEY_FILE": keys.WRAPPING_PUBLIC,
    "SIGNING_KEY_FILE": keys.SIGNING,
    "LEDGER_KEY_FILE": keys.LEDGER,
    "RECEIPT_KEY_FILE": keys.RECEIPT,
    "RECIPIENT_KEY_FILE": keys.RECIPIENT,
}
"""The file of the key that each setting of a service names."""

READY: Final = 200
READY_SECONDS: Final = 120.0
GRACE_SECONDS: Final = 20.0
PROBE_SECONDS: Final = 3.0

UNWRAPPING_KEYS: Final = ("WRAPPING_PRIVATE_KEY_FILE",)
RECEIPT_KEYS: Final = (*UNWRAPPING_KEYS, "RECEIPT_KEY_FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceProcess:
    """One role of one service.

    `port` names the setting of its port. `keys` are the only key settings it gets. With `shares_port`, all processes of
    the role listen on one port; otherwise each has its own. `--no-mail` leaves out those with `mail`.
    """

    service: str
    role: str
    port: str
    keys: tuple[str, ...]
    shares_port: bool = False
    mail: bool = False


PROCESSES: Final = (
    ServiceProcess(
        service="marathon",
        role="all",
        port="marathon_port",
        keys=("WRAPPING_PUBLIC_KEY_FILE", "SIGNING_KEY_FILE", "LEDGER_KEY_FILE"),
    ),
    ServiceProcess(service="petitions", role="intake", port="petitions_port", keys=RECEIPT_KEYS, shares_port=True),
    ServiceProcess(service="petitions", role="counter", port="petitions_counter_port", keys=RECEIPT_KEYS),
    ServiceProcess(service="letters", role="intake", port="letters_port", keys=RECEIPT_KEYS, shares_port=True),
    ServiceProcess(service="letters", role="counter", port="letters_counter_port", keys=RECEIPT_KEYS),
    ServiceProcess(
        service="notifications",
        role="all",
        port="notifications_port",
        keys=(*UNWRAPPING_KEYS, "RECIPIENT_KEY_FILE"),
        mail=True,
    ),
)


@dataclass(frozen=True, slots=True)
class ProcessInstance:
    """One process of a role on this machine: the `index`-th one, counted from 0, on `port`.

    On `probe_port` it alone answers; it differs from `port` if that is shared.
    """

    process: ServiceProcess
    index: int
    port: int
    probe_port: int

    @property
    def name(self) -> str:
        """The name `<service>-<role>`, with a number from the second process on."""
        number = f"-{self.index + 1}" if self.index else ""
        return f"{self.process.service}-{self.process.role}{number}"


def process_instances(settings: LocalSettings, *, mail: bool) -> list[ProcessInstance]:
    """List the processes to run under `settings`, with or without those of mail."""
    return [instance for process in PROCESSES if mail or not process.mail for instance in _instances(settings, process)]


def program(home: Home, settings: LocalSettings, instance: ProcessInstance, database_url: str) -> Program:
    """The program of `instance`, ready once `/readyz` answers 200."""
    process = instance.process
    return Program(
        name=instance.name,
        argv=(sys.executable, "-m", f"services.{process.service}", "--role", process.role),
        environment={
            **_inherited(),
            **common_environment(settings),
            **{name: str(home.keys / KEY_SETTINGS[name]) for name in process.keys},
            **({"MAILBOX_FOLDER": str(home.mailbox)} if process.mail and settings.own_mailbox else {}),
            "DATABASE_URL": database_url,
            "PORT": str(instance.port),
            **({"PROBE_PORT": str(instance.probe_port)} if instance.probe_port != instance.port else {}),
        },
        log=home.logs / f"{instance.name}.log",
        ready=partial(ready, instance.probe_port),
        ready_seconds=READY_SECONDS,
        grace_seconds=GRACE_SECONDS,
    )


def common_environment(settings: LocalSettings) -> dict[str, str]:
    """Return the environment that every service process gets."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "KAFKA_FLUSH": settings.kafka_flush,
        "HOST": HOST,
        "ENVIRONMENT": settings.environment,
        "LOG_FORMAT": "json",
        "SMTP_HOST": settings.smtp_host or HOST,
        "SMTP_PORT": str(settings.smtp_port),
        **{f"{name.upper()}_URL": origin for name, origin in origins(settings).items()},
    }


def origins(settings: LocalSettings) -> dict[str, str]:
    """Return the public origin of each service."""
    return {
        name: f"http://{HOST}:{getattr(settings, f'{name}_port')}"
        for name in ("marathon", "petitions", "letters", "notifications")
    }


async def ready(port: int) -> bool:
    """Whether the process on `port` answers its readiness probe with 200."""
    status, _ = await probe(port)
    return status == READY


async def probe(port: int) -> tuple[int, bytes]:
    """Return status and body of the readiness probe on `port`; status 0 if nothing answers in time."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return 0, b""
    status = head.split(b" ")[1:2]
    return (int(status[0]), body) if status and status[0].isdigit() else (0, b"")


def _instances(settings: LocalSettings, process: ServiceProcess) -> list[ProcessInstance]:
    port: int = getattr(settings, process.port)
    count = _instance_count(settings, process)
    if process.shares_port and count > 1:
        return [ProcessInstance(process, index, port, port + EXTRA_PORTS * (index + 1)) for index in range(count)]
    ports = [port + EXTRA_PORTS * index for index in range(count)]
    return [ProcessInstance(process, index, own, own) for index, own in enumerate(ports)]


def _instance_count(settings: LocalSettings, process: ServiceProcess) -> int:
    counts = {
        ("petitions", "intake"): settings.petitions_intakes,
        ("petitions", "counter"): settings.petitions_counters,
    }
    return counts.get((process.service, process.role), 1)


def _inherited() -> Mapping[str, str]:
    """Return our environment without our own settings: a service gets its own, and never the administrator's URL."""
    ours = {*(name.upper() for name in LocalSettings.model_fields), "DATABASE_URL", *KEY_SETTINGS}
    return {name: value for name, value in os.environ.items() if name not in ours}

"""`endpoints.json`: the addresses of a running platform."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypedDict

from deploy.local.home import Home, write_private
from deploy.local.ports import HOST
from deploy.local.processes import ProcessInstance, origins
from deploy.local.settings import LocalSettings
from shared.errors import SetupError


class RunningProcess(TypedDict):
    """One service process: its pid and the address of its metrics."""

    service: str
    role: str
    pid: int
    metrics: str


def probe_port(process: RunningProcess) -> int:
    """Return the port on which `process` answers its probes."""
    return int(process["metrics"].rpartition(":")[2].partition("/")[0])


class Endpoints(TypedDict):
    """The content of `endpoints.json`. `administrator` is the address of the databases' administrator."""

    marathon: str
    petitions: str
    letters: str
    notifications: str
    kafka: str
    smtp: str
    mailbox: str | None
    databases: dict[str, str]
    administrator: str
    logs: str
    kafka_data: str | None
    platform: dict[str, int]
    processes: list[RunningProcess]


def describe(
    settings: LocalSettings,
    databases: Mapping[str, str],
    administrator_url: str,
    instances: list[ProcessInstance],
    pids: Mapping[str, int],
) -> Endpoints:
    """Describe the platform; `pids` are the processes' ids by the names of their programs."""
    home = settings.home
    at = origins(settings)
    return Endpoints(
        marathon=at["marathon"],
        petitions=at["petitions"],
        letters=at["letters"],
        notifications=at["notifications"],
        kafka=settings.bootstrap_servers,
        smtp=f"{settings.smtp_host or HOST}:{settings.smtp_port}",
        mailbox=str(home.mailbox) if settings.own_mailbox else None,
        databases=dict(databases),
        administrator=administrator_url,
        logs=str(home.logs),
        kafka_data=str(home.kafka_data) if settings.own_kafka else None,
        platform={name: pid for name, pid in pids.items() if name not in {instance.name for instance in instances}},
        processes=[
            RunningProcess(
                service=instance.process.service,
                role=instance.process.role,
                pid=pids.get(instance.name, 0),
                metrics=f"http://{HOST}:{instance.probe_port}/metrics",
            )
            for instance in instances
        ],
    )


def write(home: Home, endpoints: Endpoints) -> None:
    """Write `endpoints.json`, 0600: it holds the databases' passwords."""
    write_private(home.endpoints, json.dumps(endpoints, indent=2).encode())


def read(home: Home) -> Endpoints:
    """Read the endpoints that the running platform of `home` wrote.

    Raises:
        SetupError: no platform is up there.
    """
    try:
        endpoints: Endpoints = json.loads(home.endpoints.read_text())
    except FileNotFoundError:
        raise SetupError(f"no platform is up in {home.root}: start one with `mille run`") from None
    return endpoints

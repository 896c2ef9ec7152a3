"""One to three real Kafka brokers on loopback, behind a proxy each.

Services find them through the proxies, which is what the listener CLIENTS advertises; the checker and the brokers among
themselves use INTERNAL.
"""

from __future__ import annotations

import base64
import subprocess
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Final

from deploy.local import kafka
from deploy.local.home import Home
from deploy.local.ports import HOST
from deploy.local.program import Program

FORMAT_S: Final = 60
PORTS_EACH: Final = 4
SMALL_HEAP: Final = ("-Xms256m", "-Xmx512m")
CLUSTER_SETTINGS: Final = {
    "offsets.topic.replication.factor": "3",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
}


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker: its number from 1, its home, and the first of its four ports."""

    number: int
    home: Home
    first_port: int

    @property
    def clients(self) -> int:
        """Where the proxy passes on to."""
        return self.first_port

    @property
    def internal(self) -> int:
        return self.first_port + 1

    @property
    def controller(self) -> int:
        return self.first_port + 2

    @property
    def proxy(self) -> int:
        """What clients are told."""
        return self.first_port + 3


def make_brokers(homes: list[Home], first_port: int) -> list[Broker]:
    """A broker for each of `homes`, formatted and ready to be started."""
    brokers = [Broker(index + 1, home, first_port + PORTS_EACH * index) for index, home in enumerate(homes)]
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    for broker in brokers:
        broker.home.make()
        (broker.home.kafka / "tmp").mkdir(exist_ok=True)
        (broker.home.kafka / "log4j2.properties").write_text(kafka.LOGGING_PROPERTIES)
        settings = _settings(broker, brokers)
        (broker.home.kafka / "server.properties").write_text(
            "".join(f"{name}={kafka.escaped(value)}\n" for name, value in settings.items())
        )
        _format(broker, cluster)
    return brokers


def internal(brokers: list[Broker]) -> str:
    """Where the checker finds them."""
    return ",".join(f"{HOST}:{broker.internal}" for broker in brokers)


def through_proxies(brokers: list[Broker]) -> str:
    """Where the services find them."""
    return ",".join(f"{HOST}:{broker.proxy}" for broker in brokers)


def program(broker: Broker) -> Program:
    """The broker, ready once it answers an administrator's client."""
    return Program(
        name=f"broker-{broker.number}",
        argv=kafka.command(broker.home, *SMALL_HEAP),
        environment=kafka.environment(),
        log=broker.home.logs / "kafka.log",
        ready=partial(kafka.answers, f"{HOST}:{broker.internal}"),
        ready_seconds=120.0,
        grace_seconds=30.0,
        needs_room=broker.home.kafka,
    )


def _settings(broker: Broker, brokers: list[Broker]) -> dict[str, str]:
    names = {"CLIENTS": broker.clients, "INTERNAL": broker.internal, "CONTROLLER": broker.controller}
    return {
        **kafka.BROKER_SETTINGS,
        **(CLUSTER_SETTINGS if len(brokers) > 1 else {}),
        "node.id": str(broker.number),
        "controller.quorum.voters": ",".join(f"{one.number}@{HOST}:{one.controller}" for one in brokers),
        "listeners": ",".join(f"{name}://{HOST}:{port}" for name, port in names.items()),
        "advertised.listeners": f"CLIENTS://{HOST}:{broker.proxy},INTERNAL://{HOST}:{broker.internal}",
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in names),
        "inter.broker.listener.name": "INTERNAL",
        "log.dirs": str(broker.home.kafka_data),
    }


def _format(broker: Broker, cluster: str) -> None:
    command = kafka.command(broker.home)
    done = subprocess.run(
        [*command[:-2], "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", command[-1]],
        env=kafka.environment(),
        capture_output=True,
        text=True,
        timeout=FORMAT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr

"""Connections that end, fall silent, trickle, lose packets."""

from __future__ import annotations

from typing import Final

import pytest

from tests.faults.links import NoNamespaceError, lossy_link
from tests.faults.nemeses import require_refusals
from tests.faults.proxy import NetworkConditions
from tests.faults.registry import Sabotaged, ScenarioRun, scenario

COUNTER: Final = "petitions-counter"
INTAKE: Final = "petitions-intake"
LASTS_S: Final = 20.0
"""Past the session of a group (10 s) and every time after which a request counts as lost (15 s)."""
LOSS: Final = 0.1
TRICKLE: Final = 1000


def _kafka(run: ScenarioRun, conditions: NetworkConditions, *names: str) -> None:
    pids = {run.stand.supervised[name].pid for name in names} or None
    for proxy in run.stand.kafka_proxies:
        proxy.set(conditions, pids)


def _postgres(run: ScenarioRun, conditions: NetworkConditions, *names: str) -> None:
    run.stand.postgres_proxy.set(conditions, {run.stand.supervised[name].pid for name in names} or None)


def _clear(run: ScenarioRun) -> None:
    for proxy in (*run.stand.kafka_proxies, run.stand.postgres_proxy):
        proxy.clear()
    run.heal()


@scenario("cut-off-from-kafka", rows="11", without=(Sabotaged("gives-up-in-silence", (COUNTER,), "AG", within_s=25.0),))
async def cut_off_from_kafka(run: ScenarioRun) -> None:
    """The counter alone is cut off from Kafka for longer than its group waits for it."""
    _kafka(run, NetworkConditions(cut=True), COUNTER)
    await run.wait(LASTS_S)
    _clear(run)


@scenario("cut-off-from-postgres", rows="12", without=(Sabotaged("gives-up-in-silence", (COUNTER,), "AG"),))
async def cut_off_from_postgres(run: ScenarioRun) -> None:
    """The counter alone is cut off from PostgreSQL."""
    _postgres(run, NetworkConditions(cut=True), COUNTER)
    await run.wait(LASTS_S)
    _clear(run)


@scenario("half-open", rows="13", without=(Sabotaged("no-deadline", (INTAKE,), "H"),))
async def half_open(run: ScenarioRun) -> None:
    """Every connection to Kafka and PostgreSQL falls silent without being closed; new ones get no answer either."""
    _kafka(run, NetworkConditions(silent=True))
    _postgres(run, NetworkConditions(silent=True))
    await run.wait(LASTS_S)
    require_refusals(run)
    _clear(run)


@scenario("trickle", rows="13", without=(Sabotaged("no-deadline", (INTAKE,), "H"),))
async def trickle(run: ScenarioRun) -> None:
    """Every connection to Kafka and PostgreSQL carries 1 kB a second."""
    _kafka(run, NetworkConditions(bytes_per_s=TRICKLE))
    _postgres(run, NetworkConditions(bytes_per_s=TRICKLE))
    await run.wait(LASTS_S)
    require_refusals(run)
    _clear(run)


@scenario("slow-network", rows="13", without=(Sabotaged("position-before-rows", (COUNTER,), "AFG"),))
async def slow_network(run: ScenarioRun) -> None:
    """Every piece to or from Kafka and PostgreSQL takes 100 ms longer, and the counter is killed three times."""
    _kafka(run, NetworkConditions(delay_s=0.1))
    _postgres(run, NetworkConditions(delay_s=0.1))
    for _ in range(3):
        await run.wait(LASTS_S / 5)
        run.stand.supervised[COUNTER].kill()
        await run.stand.supervised[COUNTER].wait_until_ready()
    _clear(run)


@scenario("packet-loss", rows="14", without=(Sabotaged("gives-up-in-silence", (COUNTER,), "AG"),))
async def packet_loss(run: ScenarioRun) -> None:
    """Connections to Kafka and PostgreSQL lead over a wire that loses every tenth packet."""
    try:
        async with lossy_link(LOSS) as link:
            _kafka(run, NetworkConditions(link=link))
            _postgres(run, NetworkConditions(link=link))
            await run.wait(LASTS_S)
            dropped = link.dropped
            _clear(run)
            await run.wait(1.0)
    except NoNamespaceError as error:
        pytest.skip(str(error))
    run.require(dropped > LASTS_S, f"H: the wire dropped only {dropped} packets")

"""Connections that end, fall silent, trickle, lose packets."""

from __future__ import annotations

from typing import Final

import pytest

from tests.faults.links import NoNamespaceError, lossy_link
from tests.faults.nemeses import must_have_said_so
from tests.faults.proxy import Weather
from tests.faults.registry import Fire, Without, scenario

COUNTER: Final = "petitions-counter"
INTAKE: Final = "petitions-intake"
LASTS_S: Final = 20.0
"""Past the session of a group (10 s) and every time after which a request counts as lost (15 s)."""
LOSS: Final = 0.1
TRICKLE: Final = 1000


def _kafka(fire: Fire, weather: Weather, *names: str) -> None:
    pids = {fire.stand.kept[name].pid for name in names} or None
    for proxy in fire.stand.kafka_proxies:
        proxy.set(weather, pids)


def _postgres(fire: Fire, weather: Weather, *names: str) -> None:
    fire.stand.postgres_proxy.set(weather, {fire.stand.kept[name].pid for name in names} or None)


def _clear(fire: Fire) -> None:
    for proxy in (*fire.stand.kafka_proxies, fire.stand.postgres_proxy):
        proxy.clear()
    fire.heal()


@scenario("cut-off-from-kafka", rows="11", without=(Without("gives-up-in-silence", (COUNTER,), "AG", within_s=25.0),))
async def cut_off_from_kafka(fire: Fire) -> None:
    """The counter alone is cut off from Kafka for longer than its group waits for it."""
    _kafka(fire, Weather(cut=True), COUNTER)
    await fire.last(LASTS_S)
    _clear(fire)


@scenario("cut-off-from-postgres", rows="12", without=(Without("gives-up-in-silence", (COUNTER,), "AG"),))
async def cut_off_from_postgres(fire: Fire) -> None:
    """The counter alone is cut off from PostgreSQL."""
    _postgres(fire, Weather(cut=True), COUNTER)
    await fire.last(LASTS_S)
    _clear(fire)


@scenario("half-open", rows="13", without=(Without("no-deadline", (INTAKE,), "H"),))
async def half_open(fire: Fire) -> None:
    """Every connection to Kafka and PostgreSQL falls silent without being closed; new ones get no answer either."""
    _kafka(fire, Weather(silent=True))
    _postgres(fire, Weather(silent=True))
    await fire.last(LASTS_S)
    must_have_said_so(fire)
    _clear(fire)


@scenario("trickle", rows="13", without=(Without("no-deadline", (INTAKE,), "H"),))
async def trickle(fire: Fire) -> None:
    """Every connection to Kafka and PostgreSQL carries 1 kB a second."""
    _kafka(fire, Weather(bytes_per_s=TRICKLE))
    _postgres(fire, Weather(bytes_per_s=TRICKLE))
    await fire.last(LASTS_S)
    must_have_said_so(fire)
    _clear(fire)


@scenario("slow-network", rows="13", without=(Without("position-before-rows", (COUNTER,), "AFG"),))
async def slow_network(fire: Fire) -> None:
    """Every piece to or from Kafka and PostgreSQL takes 100 ms longer, and the counter is killed three times."""
    _kafka(fire, Weather(delay_s=0.1))
    _postgres(fire, Weather(delay_s=0.1))
    for _ in range(3):
        await fire.last(LASTS_S / 5)
        fire.stand.kept[COUNTER].kill()
        await fire.stand.kept[COUNTER].until_ready()
    _clear(fire)


@scenario("packet-loss", rows="14", without=(Without("gives-up-in-silence", (COUNTER,), "AG"),))
async def packet_loss(fire: Fire) -> None:
    """Connections to Kafka and PostgreSQL lead over a wire that loses every tenth packet."""
    try:
        async with lossy_link(LOSS) as link:
            _kafka(fire, Weather(link=link))
            _postgres(fire, Weather(link=link))
            await fire.last(LASTS_S)
            dropped = link.dropped
            _clear(fire)
            await fire.last(1.0)
    except NoNamespaceError as error:
        pytest.skip(str(error))
    fire.must(dropped > LASTS_S, f"H: the wire dropped only {dropped} packets")

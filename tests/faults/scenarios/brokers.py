"""Kafka that dies, stands still, stays away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from tests.faults import evidence
from tests.faults.http import Client
from tests.faults.nemeses import MARATHON, SLOW, require_halted, require_pages, require_refusals, wait_for_rows
from tests.faults.registry import Sabotaged, ScenarioRun, scenario
from tests.faults.scenario_run import import_campaign
from tests.faults.stand import CLUSTER, DISKS

BROKER: Final = "broker-1"
INTAKE: Final = "petitions-intake"
COUNTER: Final = "petitions-counter"
PARTITIONS: Final = 4
AWAY_S: Final = 300.0 if SLOW else 50.0
"""Past every time-out and back-off of a service (the longest is aiokafka's, 40 s); SLOW=1 takes the table's 5 min."""
GROWN_BYTES: Final = 96 << 20
"""The intake's bounds for what is taken and not yet acknowledged, 48 MiB a topic."""
FLOOD: Final = 120
"""Batches: with what is kept of each person, half as much again as `GROWN_BYTES`."""
BATCH: Final = 1_000
BATCH_WITHIN_S: Final = 10.0


@scenario(
    "stopped-broker",
    rows="9",
    smoke=True,
    without=(Sabotaged("no-deadline", (INTAKE,), "H"),),
)
async def stopped_broker(run: ScenarioRun) -> None:
    """SIGSTOP of the only broker for 30 s: 503 in time, and afterwards it goes on by itself."""
    broker = run.stand.supervised[BROKER]
    broker.freeze()
    await run.wait(30.0)
    require_refusals(run)
    broker.thaw()
    run.heal()


@scenario(
    "brokers-away",
    rows="8",
    patience_s=AWAY_S + 120,
    without=(Sabotaged("no-deadline", (INTAKE,), "H"), Sabotaged("no-bound", (INTAKE,), "H")),
)
async def brokers_away(run: ScenarioRun) -> None:
    """Every broker is gone, and a partner brings 120,000 signatures: 503 in time, bounded memory, pages as before."""
    broker, intake = run.stand.supervised[BROKER], run.stand.supervised[INTAKE]
    marathon = run.stand.supervised[MARATHON].pid
    flood = await _flood(run)
    pid, before = intake.pid, evidence.resident(intake.pid)
    await broker.take_down()
    await flood()
    await run.wait(AWAY_S)
    require_refusals(run)
    await require_pages(run, marathon)
    run.require(intake.pid == pid, "H: the intake did not outlive its broker")
    grown = evidence.resident(intake.pid) - before if intake.pid == pid else 0
    run.require(grown < GROWN_BYTES, f"H: the intake grew by {grown >> 20} MB while its broker was away")
    await broker.start()
    run.heal()


async def _flood(run: ScenarioRun) -> Callable[[], Awaitable[None]]:
    """Make ready for a flood of batches from a partner, in a campaign of its own."""
    slug = f"flood-{run.campaign}"
    await import_campaign(run.stand, slug)
    made = await run.stand.mille("keys", "create", "--campaign", slug, "--scope", "signatures:batch")
    assert made.code == 0, made.output
    headers = {"Authorization": f"Bearer {made.output.strip()}"}
    batches = [_batch(slug, number) for number in range(FLOOD)]
    client = Client(run.stand.origin("petitions"))

    async def bring(batch: bytes) -> None:
        with suppress(TimeoutError):
            await client.post("/v1/signatures/batch", batch, headers, BATCH_WITHIN_S)

    async def flood() -> None:
        await asyncio.gather(*map(bring, batches))
        client.close()

    return flood


def _batch(slug: str, number: int) -> bytes:
    consent = {"privacy": True, "updates": False, "public_name": False}
    person = {"given_name": "A", "family_name": "B", "country": "FR", "consent": consent, "comment": "c" * 200}
    petition = f"free-{slug}"
    items = [{"petition": petition, "email": f"{number}.{one}@example.org", **person} for one in range(BATCH)]
    return json.dumps({"items": items}).encode()


@scenario(
    "killed-leader",
    rows="7",
    layout=CLUSTER,
    without=(Sabotaged("one-acknowledgement", (INTAKE,), "A"),),
)
async def killed_leader(run: ScenarioRun) -> None:
    """kill -9 of the broker that leads a partition, at a moment at which the two others stand still."""
    for _ in range(2):
        leader = await evidence.leader_of(run.stand.kafka, evidence.SOURCES[0].topic, run.chance.randrange(4))
        others = [process for name, process in run.stand.supervised.items() if name.startswith("broker-")]
        others.remove(run.stand.supervised[f"broker-{leader}"])
        for other in others:
            other.freeze()
        await run.wait(1.0)
        await run.stand.supervised[f"broker-{leader}"].take_down()
        for other in others:
            other.thaw()
        await run.wait(5.0)
        await run.load.reach(200)
        await run.stand.supervised[f"broker-{leader}"].start()
        await run.wait(2.0)
    run.heal()


@scenario(
    "brokers-rolling",
    rows="4, 7",
    layout=CLUSTER,
    without=(Sabotaged("gives-up-in-silence", (COUNTER,), "AG"),),
)
async def brokers_rolling(run: ScenarioRun) -> None:
    """Each of three brokers is stopped in good order and started again."""
    for number in (1, 2, 3):
        await run.stand.supervised[f"broker-{number}"].restart()
        await run.wait(2.0)
        await run.load.reach(100)
    run.heal()


@scenario(
    "full-disk-under-kafka",
    rows="18",
    layout=DISKS,
    without=(Sabotaged("no-deadline", (INTAKE,), "H"),),
)
async def full_disk_under_kafka(run: ScenarioRun) -> None:
    """Not one byte is free on the broker's disk for 20 s: it gives up, and is started again once there is room."""
    assert run.stand.kafka_disk is not None
    await asyncio.to_thread(run.stand.kafka_disk.fill)
    await run.wait(20.0)
    require_refusals(run)
    run.stand.kafka_disk.empty()
    run.heal()
    await run.stand.supervised[BROKER].wait_until_ready()


@scenario(
    "wiped-log",
    rows="10",
    ruins=True,
    judged=False,
    without=(Sabotaged("trusts-any-log", (COUNTER,), "AH"),),
)
async def wiped_log(run: ScenarioRun) -> None:
    """The log is wiped below the stored positions: every partition halts and alarms, nothing is skipped."""
    source = evidence.SOURCES[0]
    await wait_for_rows(run, 100)
    before = await evidence.rows(run.stand, source, run.campaign)
    counted = await evidence.positions(run.stand, source)
    await evidence.wipe(run.stand.kafka, source.topic)
    run.heal()

    await require_halted(run, COUNTER, source.topic, PARTITIONS)
    ready = await run.stand.supervised[COUNTER].program.ready()
    run.require(not ready, "H: a counter with halted partitions says that it is ready")
    stopped = await evidence.positions(run.stand, source)
    run.require(all(stopped[tp] >= next_ for tp, next_ in counted.items()), "A: positions go back on a wiped log")
    rows = await evidence.rows(run.stand, source, run.campaign)
    await run.wait(5.0)
    run.require(stopped == await evidence.positions(run.stand, source), "A: positions move on a log that was wiped")
    run.require(before.keys() <= rows.keys(), "A: rows have gone")

"""Kafka that dies, stands still, stays away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from tests.faults import evidence
from tests.faults.http import Client
from tests.faults.nemeses import MARATHON, SLOW, counted, must_have_said_so, must_show_its_pages, until
from tests.faults.registry import Fire, Without, scenario
from tests.faults.running import import_campaign
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
    without=(Without("no-deadline", (INTAKE,), "H"),),
)
async def stopped_broker(fire: Fire) -> None:
    """SIGSTOP of the only broker for 30 s: 503 in time, and afterwards it goes on by itself."""
    broker = fire.stand.kept[BROKER]
    broker.freeze()
    await fire.last(30.0)
    must_have_said_so(fire)
    broker.thaw()
    fire.heal()


@scenario(
    "brokers-away",
    rows="8",
    patience_s=AWAY_S + 120,
    without=(Without("no-deadline", (INTAKE,), "H"), Without("no-bound", (INTAKE,), "H")),
)
async def brokers_away(fire: Fire) -> None:
    """Every broker is gone, and a partner brings 120,000 signatures: 503 in time, bounded memory, pages as before."""
    broker, intake = fire.stand.kept[BROKER], fire.stand.kept[INTAKE]
    marathon = fire.stand.kept[MARATHON].pid
    flood = await _flood(fire)
    pid, before = intake.pid, evidence.resident(intake.pid)
    await broker.down()
    await flood()
    await fire.last(AWAY_S)
    must_have_said_so(fire)
    await must_show_its_pages(fire, marathon)
    fire.must(intake.pid == pid, "H: the intake did not outlive its broker")
    grown = evidence.resident(intake.pid) - before if intake.pid == pid else 0
    fire.must(grown < GROWN_BYTES, f"H: the intake grew by {grown >> 20} MB while its broker was away")
    await broker.start()
    fire.heal()


async def _flood(fire: Fire) -> Callable[[], Awaitable[None]]:
    """Make ready for a flood of batches from a partner, in a campaign of its own."""
    slug = f"flood-{fire.campaign}"
    await import_campaign(fire.stand, slug)
    made = await fire.stand.mille("keys", "create", "--campaign", slug, "--scope", "signatures:batch")
    assert made.code == 0, made.output
    headers = {"Authorization": f"Bearer {made.output.strip()}"}
    batches = [_batch(slug, number) for number in range(FLOOD)]
    client = Client(fire.stand.origin("petitions"))

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
    without=(Without("one-acknowledgement", (INTAKE,), "A"),),
)
async def killed_leader(fire: Fire) -> None:
    """kill -9 of the broker that leads a partition, at a moment at which the two others stand still."""
    for _ in range(2):
        leader = await evidence.leader_of(fire.stand.kafka, evidence.SOURCES[0].topic, fire.chance.randrange(4))
        others = [kept for name, kept in fire.stand.kept.items() if name.startswith("broker-")]
        others.remove(fire.stand.kept[f"broker-{leader}"])
        for other in others:
            other.freeze()
        await fire.last(1.0)
        await fire.stand.kept[f"broker-{leader}"].down()
        for other in others:
            other.thaw()
        await fire.last(5.0)
        await fire.load.reach(200)
        await fire.stand.kept[f"broker-{leader}"].start()
        await fire.last(2.0)
    fire.heal()


@scenario(
    "brokers-rolling",
    rows="4, 7",
    layout=CLUSTER,
    without=(Without("gives-up-in-silence", (COUNTER,), "AG"),),
)
async def brokers_rolling(fire: Fire) -> None:
    """Each of three brokers is stopped in good order and started again."""
    for number in (1, 2, 3):
        await fire.stand.kept[f"broker-{number}"].restart()
        await fire.last(2.0)
        await fire.load.reach(100)
    fire.heal()


@scenario(
    "full-disk-under-kafka",
    rows="18",
    layout=DISKS,
    without=(Without("no-deadline", (INTAKE,), "H"),),
)
async def full_disk_under_kafka(fire: Fire) -> None:
    """Not one byte is free on the broker's disk for 20 s: it gives up, and is started again once there is room."""
    assert fire.stand.kafka_disk is not None
    await asyncio.to_thread(fire.stand.kafka_disk.fill)
    await fire.last(20.0)
    must_have_said_so(fire)
    fire.stand.kafka_disk.empty()
    fire.heal()
    await fire.stand.kept[BROKER].until_ready()


@scenario(
    "wiped-log",
    rows="10",
    ruins=True,
    judged=False,
    without=(Without("trusts-any-log", (COUNTER,), "AH"),),
)
async def wiped_log(fire: Fire) -> None:
    """The log is wiped below the stored positions: every partition halts and alarms, nothing is skipped."""
    source = evidence.SOURCES[0]
    await counted(fire, 100)
    before = await evidence.rows(fire.stand, source, fire.campaign)
    await evidence.wipe(fire.stand.kafka, source.topic)
    fire.heal()

    async def halted() -> bool:
        measured = await asyncio.to_thread(evidence.measured, fire.stand, COUNTER)
        return sum(value for name, value in measured.items() if name.startswith("partition_halted")) == PARTITIONS

    try:
        await until(halted, "every partition halted", fire.expected.drain_within_s)
    except AssertionError:
        fire.must(False, "H: not every partition of a wiped log halts and alarms")
    ready = await fire.stand.kept[COUNTER].program.ready()
    fire.must(not ready, "H: a counter with halted partitions says that it is ready")
    stopped = await evidence.positions(fire.stand, source)
    rows = await evidence.rows(fire.stand, source, fire.campaign)
    await fire.last(5.0)
    fire.must(stopped == await evidence.positions(fire.stand, source), "A: positions move on a log that was wiped")
    fire.must(before.keys() <= rows.keys(), "A: rows have gone")

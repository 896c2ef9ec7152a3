"""Processes of ours that die, stand still, wake up late, come and go."""

from __future__ import annotations

import asyncio
import signal
from typing import Final

from tests.faults import evidence
from tests.faults.keeping import Kept
from tests.faults.nemeses import MARATHON, SLOW, counted, transaction_held_open, until
from tests.faults.proxy import Weather
from tests.faults.registry import Fire, Without, scenario

COUNTER: Final = "petitions-counter"
SECOND: Final = "petitions-counter-2"
INTAKE: Final = "petitions-intake"
SENDER: Final = "notifications-all"
BROKER: Final = "broker-1"
FROZEN_S: Final = 60.0 if SLOW else 12.0
"""After 10 s the group gives the partitions of a silent member to another; SLOW=1 takes the minute of the table."""
BLOCKED_S: Final = 40.0
IDLE_S: Final = 20.0
"""Past the 3 s after which `given-up-soon` ends a member's heartbeats, and the 10 s that its group waits for them."""
TRIES: Final = 20
_LEFT_OPEN: Final = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'petitions counter'
    AND clock_timestamp() - xact_start > interval '0.2 seconds')
"""


@scenario(
    "killed-counter",
    rows="1",
    smoke=True,
    without=(Without("position-before-rows", (COUNTER,), "AF"),),
)
async def killed_counter(fire: Fire) -> None:
    """kill -9 of the counter in its transaction, after its commit, and at three other moments."""
    counter = fire.stand.kept[COUNTER]
    async with transaction_held_open(fire):
        counter.kill()
    await counter.until_ready()
    await counted(fire, 20)
    counter.kill()
    for _ in range(3):
        await counter.until_ready()
        await fire.load.reach(fire.chance.randint(20, 150))
        counter.kill()
    await counter.until_ready()
    fire.heal()


@scenario(
    "killed-intake",
    rows="2",
    smoke=True,
    without=(Without("answer-before-storing", (INTAKE,), "A"),),
)
async def killed_intake(fire: Fire) -> None:
    """kill -9 of the intake while it waits for its broker, so that nobody was answered; the clients try again."""
    fire.expected.cut_off = True
    intake, broker = fire.stand.kept[INTAKE], fire.stand.kept[BROKER]
    for _ in range(3):
        broker.freeze()
        await fire.last(1.0)
        intake.kill()
        broker.thaw()
        await intake.until_ready()
        await fire.load.reach(100)
    intake.kill()
    await intake.until_ready()
    fire.heal()


@scenario(
    "zombie-consumer",
    rows="3",
    smoke=True,
    without=(Without("compare-and-set", (COUNTER, SECOND), "BF"),),
)
async def zombie_consumer(fire: Fire) -> None:
    """SIGSTOP of a counter with a transaction on its way, until another has counted on; then all of it arrives."""
    zombie, other = fire.stand.kept[COUNTER], fire.stand.kept[SECOND]
    await other.start()
    await counted(fire, 50)
    await _transaction_on_its_way(fire, zombie)
    zombie.freeze()
    began = await evidence.positions(fire.stand, evidence.SOURCES[0])

    async def taken_over() -> bool:
        now = await evidence.positions(fire.stand, evidence.SOURCES[0])
        return all(now[place] > began[place] + 5 for place in began)

    await fire.last(FROZEN_S)
    await until(taken_over, "another counter on every partition")
    fire.stand.postgres_proxy.clear()
    zombie.thaw()
    await fire.load.reach(200)
    fire.heal()
    await counted(fire, 100)
    await other.stop()


async def _transaction_on_its_way(fire: Fire, counter: Kept) -> None:
    """Hold up what `counter` says to PostgreSQL, at a moment at which no transaction of its is open there."""
    proxy = fire.stand.postgres_proxy
    async with evidence.database(fire.stand.databases["petitions"]) as connection:
        for _ in range(TRIES):
            proxy.set(Weather(silent=True), {counter.pid})
            await fire.last(0.4)
            if not await connection.fetchval(_LEFT_OPEN):
                return
            proxy.clear()
            await fire.last(0.2)
    raise AssertionError("no transaction was on its way")


@scenario(
    "members-1-4-1",
    rows="5",
    without=(Without("starts-at-the-end", (COUNTER, SECOND), "AFG"),),
)
async def members_come_and_go(fire: Fire) -> None:
    """Counters from one to four and back to one, one of them killed, one stopped, one frozen and then killed."""
    others = [fire.stand.kept[f"petitions-counter-{number}"] for number in (2, 3, 4)]
    await asyncio.gather(*(other.start() for other in others))
    await fire.load.reach(300)
    await others[0].stop()
    await others[1].down()
    others[2].freeze()
    await fire.load.reach(300)
    await others[2].down()
    fire.heal()


@scenario("idle-counter", rows="5", without=(Without("asks-for-nothing", (COUNTER,), "G", within_s=30.0),))
async def idle_counter(fire: Fire) -> None:
    """Nobody acts for longer than a group waits for a member to ask for records: it stays a member, and counts on."""
    await fire.stand.restart(COUNTER, sabotage="given-up-soon")
    await counted(fire, 50)
    fire.load.paused = True
    await fire.last(IDLE_S)
    members = await evidence.members(fire.stand.kafka, "petitions.count-signatures")
    fire.must(members == 1, f"G: the idle counter's group has {members} members")
    fire.load.paused = False
    fire.heal()
    await counted(fire, 100, within=20.0)
    await fire.stand.restart(COUNTER)


@scenario(
    "rolling-restart",
    rows="4",
    rate=60,
    confirmation="optional",
    without=(Without("deletes-before-sending", (COUNTER,), "FG"),),
)
async def rolling_restart(fire: Fire) -> None:
    """Every service is stopped in good order and started again, one after the other, while mails go out."""
    fire.expected.cut_off = True
    for kept in fire.stand.services:
        await kept.restart()
        await fire.load.reach(30)
    fire.heal()


@scenario(
    "killed-everything",
    rows="1, 2, 15",
    confirmation="optional",
    without=(Without("position-before-rows", (COUNTER,), "AFG"),),
)
async def killed_everything(fire: Fire) -> None:
    """kill -9 of intake, counter, ledger, sender, broker and PostgreSQL at random moments."""
    fire.expected.cut_off = True
    fire.expected.copies = 3
    victims = [COUNTER, INTAKE, MARATHON, SENDER, BROKER, "postgres"]
    fire.chance.shuffle(victims)
    for name in victims:
        await fire.load.reach(fire.chance.randint(5, 120))
        fire.stand.kept[name].kill()
        await fire.last(fire.chance.uniform(0.0, 1.0))
        await fire.stand.kept[name].until_ready()
    fire.heal()


@scenario(
    "frozen-counter",
    rows="6",
    without=(Without("places-once", (COUNTER,), "AG"),),
)
async def frozen_counter(fire: Fire) -> None:
    """The only counter stands still for 40 s, past its session, and joins its group again."""
    fire.stand.kept[COUNTER].freeze()
    await fire.last(BLOCKED_S)
    fire.stand.kept[COUNTER].thaw()
    fire.heal()


@scenario(
    "blocked-event-loop",
    rows="6",
    without=(Without("no-watchdog", (COUNTER,), "G", within_s=45.0),),
)
async def blocked_event_loop(fire: Fire) -> None:
    """Something blocks the counter's event loop for ever: its watchdog ends the process, and it starts again."""
    counter = fire.stand.kept[COUNTER]
    await fire.stand.restart(COUNTER, sabotage="stands-still-on-signal")
    await fire.load.reach(50)
    counter.signal(signal.SIGUSR1)
    fire.heal()
    await fire.last(5.0)

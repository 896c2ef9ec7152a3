"""Processes of ours that die, stand still, wake up late, come and go."""

from __future__ import annotations

import asyncio
import signal
from typing import Final

from tests.faults import evidence
from tests.faults.nemeses import MARATHON, SLOW, transaction_held_open, wait_for_rows, wait_until
from tests.faults.proxy import NetworkConditions
from tests.faults.registry import Sabotaged, ScenarioRun, scenario
from tests.faults.supervised_program import SupervisedProgram

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
    without=(Sabotaged("position-before-rows", (COUNTER,), "AF"),),
)
async def killed_counter(run: ScenarioRun) -> None:
    """kill -9 of the counter in its transaction, after its commit, and at three other moments."""
    counter = run.stand.supervised[COUNTER]
    async with transaction_held_open(run):
        counter.kill()
    await counter.wait_until_ready()
    await wait_for_rows(run, 20)
    counter.kill()
    for _ in range(3):
        await counter.wait_until_ready()
        await run.load.reach(run.chance.randint(20, 150))
        counter.kill()
    await counter.wait_until_ready()
    run.heal()


@scenario(
    "killed-intake",
    rows="2",
    smoke=True,
    without=(Sabotaged("answer-before-storing", (INTAKE,), "A"),),
)
async def killed_intake(run: ScenarioRun) -> None:
    """kill -9 of the intake while it waits for its broker, so that nobody was answered; the clients try again."""
    run.expected.cut_off = True
    intake, broker = run.stand.supervised[INTAKE], run.stand.supervised[BROKER]
    for _ in range(3):
        broker.freeze()
        await run.wait(1.0)
        intake.kill()
        broker.thaw()
        await intake.wait_until_ready()
        await run.load.reach(100)
    intake.kill()
    await intake.wait_until_ready()
    run.heal()


@scenario(
    "zombie-consumer",
    rows="3",
    smoke=True,
    without=(Sabotaged("compare-and-set", (COUNTER, SECOND), "BF"),),
)
async def zombie_consumer(run: ScenarioRun) -> None:
    """SIGSTOP of a counter with a transaction on its way, until another has counted on; then all of it arrives."""
    zombie, other = run.stand.supervised[COUNTER], run.stand.supervised[SECOND]
    await other.start()
    await wait_for_rows(run, 50)
    await _transaction_on_its_way(run, zombie)
    zombie.freeze()
    began = await evidence.positions(run.stand, evidence.SOURCES[0])

    async def taken_over() -> bool:
        now = await evidence.positions(run.stand, evidence.SOURCES[0])
        return all(now[place] > began[place] + 5 for place in began)

    await run.wait(FROZEN_S)
    await wait_until(taken_over, "another counter on every partition")
    run.stand.postgres_proxy.clear()
    zombie.thaw()
    await run.load.reach(200)
    run.heal()
    await wait_for_rows(run, 100)
    await other.stop()


async def _transaction_on_its_way(run: ScenarioRun, counter: SupervisedProgram) -> None:
    """Hold up what `counter` says to PostgreSQL, at a moment at which no transaction of its is open there."""
    proxy = run.stand.postgres_proxy
    async with evidence.database(run.stand.databases["petitions"]) as connection:
        for _ in range(TRIES):
            proxy.set(NetworkConditions(silent=True), {counter.pid})
            await run.wait(0.4)
            if not await connection.fetchval(_LEFT_OPEN):
                return
            proxy.clear()
            await run.wait(0.2)
    raise AssertionError("no transaction was on its way")


@scenario(
    "members-1-4-1",
    rows="5",
    without=(Sabotaged("starts-at-the-end", (COUNTER, SECOND), "AFG"),),
)
async def members_come_and_go(run: ScenarioRun) -> None:
    """Counters from one to four and back to one, one of them killed, one stopped, one frozen and then killed."""
    others = [run.stand.supervised[f"petitions-counter-{number}"] for number in (2, 3, 4)]
    await asyncio.gather(*(other.start() for other in others))
    await run.load.reach(300)
    await others[0].stop()
    await others[1].take_down()
    others[2].freeze()
    await run.load.reach(300)
    await others[2].take_down()
    run.heal()


@scenario("idle-counter", rows="5", without=(Sabotaged("asks-for-nothing", (COUNTER,), "G", within_s=30.0),))
async def idle_counter(run: ScenarioRun) -> None:
    """Nobody acts for longer than a group waits for a member to ask for records: it stays a member, and counts on."""
    await run.stand.restart(COUNTER, sabotage="given-up-soon")
    await wait_for_rows(run, 50)
    run.load.paused = True
    await run.wait(IDLE_S)
    members = await evidence.members(run.stand.kafka, "petitions.count-signatures")
    run.require(members == 1, f"G: the idle counter's group has {members} members")
    run.load.paused = False
    run.heal()
    await wait_for_rows(run, 100, within=20.0)
    await run.stand.restart(COUNTER)


@scenario(
    "rolling-restart",
    rows="4",
    rate=60,
    confirmation="optional",
    without=(Sabotaged("deletes-before-sending", (COUNTER,), "FG"),),
)
async def rolling_restart(run: ScenarioRun) -> None:
    """Every service is stopped in good order and started again, one after the other, while mails go out."""
    run.expected.cut_off = True
    for process in run.stand.services:
        await process.restart()
        await run.load.reach(30)
    run.heal()


@scenario(
    "killed-everything",
    rows="1, 2, 15",
    confirmation="optional",
    without=(Sabotaged("position-before-rows", (COUNTER,), "AFG"),),
)
async def killed_everything(run: ScenarioRun) -> None:
    """kill -9 of intake, counter, ledger, sender, broker and PostgreSQL at random moments."""
    run.expected.cut_off = True
    run.expected.copies = 3
    victims = [COUNTER, INTAKE, MARATHON, SENDER, BROKER, "postgres"]
    run.chance.shuffle(victims)
    for name in victims:
        await run.load.reach(run.chance.randint(5, 120))
        run.stand.supervised[name].kill()
        await run.wait(run.chance.uniform(0.0, 1.0))
        await run.stand.supervised[name].wait_until_ready()
    run.heal()


@scenario(
    "frozen-counter",
    rows="6",
    without=(Sabotaged("places-once", (COUNTER,), "AG"),),
)
async def frozen_counter(run: ScenarioRun) -> None:
    """The only counter stands still for 40 s, past its session, and joins its group again."""
    run.stand.supervised[COUNTER].freeze()
    await run.wait(BLOCKED_S)
    run.stand.supervised[COUNTER].thaw()
    run.heal()


@scenario(
    "blocked-event-loop",
    rows="6",
    without=(Sabotaged("no-watchdog", (COUNTER,), "G", within_s=45.0),),
)
async def blocked_event_loop(run: ScenarioRun) -> None:
    """Something blocks the counter's event loop for ever: its watchdog ends the process, and it starts again."""
    counter = run.stand.supervised[COUNTER]
    await run.stand.restart(COUNTER, sabotage="stands-still-on-signal")
    await run.load.reach(50)
    counter.signal(signal.SIGUSR1)
    run.heal()
    await run.wait(5.0)

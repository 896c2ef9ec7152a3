"""Records that nobody can read, that kill, that come again, that speak another version."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from shared.kafka.refusal_limit import MAX_IN_A_ROW
from tests.faults import evidence, raw_records
from tests.faults.journal import Act
from tests.faults.nemeses import require_halted, wait_for_rows, wait_until
from tests.faults.registry import Sabotaged, ScenarioRun, scenario

COUNTER: Final = "petitions-counter"
INTAKE: Final = "petitions-intake"
LETTERS: Final = "letters-intake"
SIGNATURES: Final = evidence.SOURCES[0]
DEAD: Final = f"{SIGNATURES.topic}.dlq"
NEEDLE: Final = "Vexmoorhaven"
"""Stands in the poison and must come into no log and no metric."""
PARTITIONS: Final = 4
GROUPS: Final = (
    *((f"{source.service}-counter", source.group, [source.topic]) for source in evidence.SOURCES),
    ("notifications-all", "notifications.plan-mails", [source.topic for source in evidence.SOURCES]),
    ("marathon-all", "marathon.apply-tallies", [source.tallies for source in evidence.SOURCES]),
)
"""Who reads, by the process's name, its group and its topics."""
DEATHS: Final = 8
AT_ONCE: Final = 100


async def dead_letters(run: ScenarioRun) -> list[evidence.Raw]:
    """The dead letters since the scenario began."""
    return await evidence.read(run.stand.kafka, DEAD, run.marks.ends)


async def until_dead(run: ScenarioRun, wanted: int) -> list[evidence.Raw]:
    """The dead letters, once there are so many."""

    async def there() -> bool:
        return len(await dead_letters(run)) >= wanted

    try:
        await wait_until(there, f"{wanted} dead letters", run.expected.drain_within_s)
    except AssertionError:
        run.require(False, f"A: {len(await dead_letters(run))} dead letters instead of {wanted}")
    return await dead_letters(run)


async def all_dead(run: ScenarioRun) -> list[evidence.Raw]:
    """The dead letters, once everything that is on the topic now is counted, or dead and told."""
    source = evidence.SOURCES[0]
    ends = await evidence.ends_of(run.stand.kafka, source.topic)

    async def told() -> bool:
        positions = await evidence.positions(run.stand, source)
        if any(positions[place] < end for place, end in ends.items()):
            return False
        async with evidence.database(run.stand.databases[source.service]) as connection:
            return not await connection.fetchval("SELECT count(*) FROM outbox WHERE topic = $1", DEAD)

    await wait_until(told, "all dead letters are told", run.expected.drain_within_s)
    return await dead_letters(run)


def _poison() -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]:
    good, later = raw_records.headers("signature-submitted"), raw_records.headers("signature-submitted", "9.0")
    plain = json.dumps({"given_name": NEEDLE}).encode()
    return [
        (raw_records.key(), plain[:-1], good),
        (raw_records.key(), plain, later),
        (raw_records.key(), None, good),
        (raw_records.key(), b'{"given_name": "' + NEEDLE.encode() * 80_000 + b'"}', good),
        (raw_records.key(), b"[" * 100_000, good),
        (raw_records.key(), b"\x00\xff" + NEEDLE.encode(), good),
        (b"short", plain, good),
        (None, plain, good),
        (raw_records.key(), plain, []),
        (raw_records.key(), plain, raw_records.headers("somebody-sneezed")),
        (raw_records.key(), plain, raw_records.headers("signature-confirmed")),
    ]


@scenario(
    "poison-records",
    rows="23",
    smoke=True,
    without=(Sabotaged("drops-dead-letters", (COUNTER,), "A"),),
)
async def poison_records(run: ScenarioRun) -> None:
    """Broken JSON, unknown versions, no value, 1 MB, no key, no headers among the signatures of every partition."""
    sent = 0
    async with raw_records.producer(run.stand.kafka) as producer:
        for partition in range(PARTITIONS):
            for key, value, headers in _poison():
                await producer.send_and_wait(SIGNATURES.topic, value, key=key, partition=partition, headers=headers)
                sent += 1
    run.heal()
    found = await until_dead(run, sent)
    run.require(len(found) == sent, f"B: {len(found)} dead letters of {sent} poison records")
    run.require(all("dlq_reason" in dict(record.headers) for record in found), "A: a dead letter without a reason")
    for path in run.stand.home.logs.glob("*.log"):
        run.require(NEEDLE not in path.read_text(errors="replace"), f"E: {path.name} quotes a poison record")
    for process in run.stand.services:
        told = await asyncio.to_thread(evidence.metric_values, run.stand, process.name)
        run.require(NEEDLE not in "".join(told), f"E: a metric of {process.name} quotes a poison record")


@scenario(
    "deadly-record",
    rows="24",
    without=(Sabotaged("never-sets-aside", (COUNTER,), "GA", within_s=60.0),),
)
async def deadly_record(run: ScenarioRun) -> None:
    """A record on which every counter dies: it is tried a few times and set aside, the rest is counted."""
    counter = run.stand.supervised[COUNTER]
    (model, *_) = await evidence.read(run.stand.kafka, SIGNATURES.topic, run.marks.ends)
    deadly = raw_records.key()
    run.expected.without_row.add(deadly)
    await run.stand.restart(COUNTER, sabotage="dies-of-a-key", DEADLY_KEY=deadly.hex())
    deaths = counter.deaths
    async with raw_records.producer(run.stand.kafka) as producer:
        await producer.send_and_wait(
            SIGNATURES.topic, model.value, key=deadly, partition=1, headers=raw_records.without(model.headers)
        )
    run.heal()
    found = await until_dead(run, 1)
    run.require(
        [dict(record.headers).get("dlq_reason") for record in found] == [b"ends-the-process"],
        "A: the deadly record is no dead letter",
    )
    deaths = counter.deaths - deaths
    run.require(0 < deaths <= DEATHS, f"G: {deaths} processes died of one record")
    await run.stand.restart(COUNTER)


@scenario(
    "hundred-at-once",
    rows="22",
    without=(Sabotaged("careless-keys", (INTAKE, LETTERS), "ABC"),),
)
async def hundred_at_once(run: ScenarioRun) -> None:
    """The same signature a hundred times at once, and the same letter under one Idempotency-Key, of ten people."""
    for number in range(10):
        for act in (Act("signature", 10_000_000 + number), Act("letter", 10_000_000 + number)):
            run.journal.tried.add(act)
            answers = await asyncio.gather(*(run.load.post(act) for _ in range(AT_ONCE)))
            statuses = {answer.status if answer else 0 for answer in answers}
            run.require(statuses == {202}, f"H: the same post at once was answered {statuses}")
            receipts = [json.loads(answer.body)["receipt"] for answer in answers if answer and answer.status == 202]
            if receipts:
                run.journal.acknowledged[act] = receipts[0]
    run.heal()


@scenario(
    "replayed",
    rows="21",
    confirmation="optional",
    without=(Sabotaged("trusts-kafka-offsets", (COUNTER,), "BFG"),),
)
async def replayed(run: ScenarioRun) -> None:
    """Kafka's offsets of every group set back to 0, and `mille replay` over the whole log."""
    stand = run.stand
    for name, group, topics in GROUPS:
        await stand.supervised[name].stop()
        for topic in topics:
            await evidence.reset_group_offsets(stand.kafka, group, topic)
        await stand.supervised[name].start()
    run.heal()
    await run.load.reach(100)
    done = await stand.mille("replay")
    run.require(done.code == 0, f"B: mille replay finds differences: {done.output[-300:]}")


@scenario(
    "new-minor-version",
    rows="25",
    without=(Sabotaged("refuses-unknown-fields", (COUNTER,), "A"),),
)
async def new_minor_version(run: ScenarioRun) -> None:
    """An intake that sends fields which the counter does not know, then one that leaves out what may be left out."""
    run.expected.cut_off = True
    await run.stand.restart(INTAKE, sabotage="speaks-newer")
    await run.load.reach(200)
    await run.stand.restart(INTAKE, sabotage="speaks-older")
    await run.load.reach(200)
    await run.stand.restart(INTAKE)
    run.heal()
    run.require(not await dead_letters(run), "A: events of another minor version became dead letters")


async def _redriven(run: ScenarioRun) -> None:
    """Acts of a major version that become dead letters, since the operator asks for it, and that a newer counter reads:
    redriven twice at once.
    """
    await run.stand.restart(COUNTER, DEAD_LETTER_LIMIT="off")
    await run.stand.restart(INTAKE, sabotage="speaks-the-next-major")
    await run.load.reach(150)
    await run.stand.restart(INTAKE)
    await until_dead(run, 50)
    found = await all_dead(run)
    run.require(
        {dict(record.headers)["dlq_reason"] for record in found} == {b"unknown-version"},
        "A: events of another major version are no dead letters",
    )
    run.expected.redriven = {record.key for record in found if record.key}
    await run.stand.restart(COUNTER, sabotage="reads-the-next-major")
    for done in await asyncio.gather(run.stand.mille("dlq", "redrive"), run.stand.mille("dlq", "redrive")):
        run.require(done.code == 0, f"A: mille dlq redrive: {done.output[-300:]}")
    await wait_for_rows(run, 50)


@scenario(
    "new-major-version",
    rows="25",
    without=(Sabotaged("drops-dead-letters", (COUNTER,), "A"),),
)
async def new_major_version(run: ScenarioRun) -> None:
    """A new producer with an old consumer: its partitions halt with few dead letters, and an upgrade counts all."""
    run.expected.cut_off = True
    await run.stand.restart(INTAKE, sabotage="speaks-the-next-major")
    await require_halted(run, COUNTER, SIGNATURES.topic, PARTITIONS)
    await run.stand.restart(INTAKE)
    found = await dead_letters(run)
    run.require(len(found) <= MAX_IN_A_ROW * PARTITIONS, f"A: {len(found)} of a version's records are dead letters")
    run.expected.redriven = {record.key for record in found if record.key}
    await run.stand.restart(COUNTER, sabotage="reads-the-next-major")
    done = await run.stand.mille("dlq", "redrive")
    run.require(done.code == 0, f"A: mille dlq redrive: {done.output[-300:]}")
    await all_dead(run)
    run.heal()
    await run.stand.restart(COUNTER)


@scenario(
    "redriven-twice",
    rows="26",
    without=(Sabotaged("forgets-origins", (COUNTER,), "BC"),),
)
async def redriven_twice(run: ScenarioRun) -> None:
    """Dead letters redriven twice at once, then taken back by some people, then redriven by hand once more."""
    run.expected.cut_off = True
    await _redriven(run)
    # What earlier scenarios left was redriven with them, and refused again.
    dead = {
        record.key: record for record in await dead_letters(run) if record.key and record.key in run.expected.redriven
    }
    back = sorted(dead)[:20]
    # Whoever signs again after taking it back is counted again, and rightly.
    run.load.repeat_share = 0.0
    await run.load.settle()
    async with raw_records.producer(run.stand.kafka) as producer:
        about = {"campaign": run.campaign, "case": run.load.target.case, "subject": run.load.target.petition}
        for key in back:
            await producer.send_and_wait(
                SIGNATURES.topic,
                json.dumps(about).encode(),
                key=key,
                partition=dead[key].partition,
                headers=raw_records.headers("signature-withdrawn"),
            )
        for key in back:
            found = dict(dead[key].headers)
            origin = f"{SIGNATURES.topic}/{dead[key].partition}/{found['dlq_offset'].decode()}".encode()
            await producer.send_and_wait(
                SIGNATURES.topic,
                dead[key].value,
                key=key,
                partition=dead[key].partition,
                headers=[*raw_records.without(dead[key].headers, "dlq_", "ce_origin"), ("ce_origin", origin)],
            )
    run.expected.change -= len(back)
    run.heal()

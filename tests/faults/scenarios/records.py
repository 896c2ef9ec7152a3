"""Records that nobody can read, that kill, that come again, that speak another version."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from tests.faults import evidence, raw
from tests.faults.journal import Act
from tests.faults.nemeses import counted, until
from tests.faults.registry import Fire, Without, scenario

COUNTER: Final = "petitions-counter"
INTAKE: Final = "petitions-intake"
LETTERS: Final = "letters-intake"
SIGNATURES: Final = evidence.SOURCES[0]
DEAD: Final = f"{SIGNATURES.topic}.dlq"
NEEDLE: Final = "Vexmoorhaven"
"""Stands in the poison and must come into no log and no metric."""
PARTITIONS: Final = 4
GROUPS: Final = (
    *(
        (f"{source.service}-counter", f"{source.service}.count-{source.table}", [source.topic])
        for source in evidence.SOURCES
    ),
    ("notifications-all", "notifications.plan-mails", [source.topic for source in evidence.SOURCES]),
    ("marathon-all", "marathon.apply-tallies", [source.tallies for source in evidence.SOURCES]),
)
"""Who reads, by the process's name, its group and its topics."""
DEATHS: Final = 15
AT_ONCE: Final = 100


async def dead_letters(fire: Fire) -> list[evidence.Raw]:
    """The dead letters since the scenario began."""
    return await evidence.read(fire.stand.kafka, DEAD, fire.marks.ends)


async def until_dead(fire: Fire, wanted: int) -> list[evidence.Raw]:
    """The dead letters, once there are so many."""

    async def there() -> bool:
        return len(await dead_letters(fire)) >= wanted

    try:
        await until(there, f"{wanted} dead letters", fire.expected.drain_within_s)
    except AssertionError:
        fire.must(False, f"A: {len(await dead_letters(fire))} dead letters instead of {wanted}")
    return await dead_letters(fire)


async def all_dead(fire: Fire) -> list[evidence.Raw]:
    """The dead letters, once everything that is on the topic now is counted, or dead and told."""
    source = evidence.SOURCES[0]
    ends = await evidence.ends_of(fire.stand.kafka, source.topic)

    async def told() -> bool:
        positions = await evidence.positions(fire.stand, source)
        if any(positions[place] < end for place, end in ends.items()):
            return False
        async with evidence.database(fire.stand.databases[source.service]) as connection:
            return not await connection.fetchval("SELECT count(*) FROM outbox WHERE topic = $1", DEAD)

    await until(told, "all dead letters are told", fire.expected.drain_within_s)
    return await dead_letters(fire)


def _poison() -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]:
    good, later = raw.headers("signature-submitted"), raw.headers("signature-submitted", "9.0")
    plain = json.dumps({"given_name": NEEDLE}).encode()
    return [
        (raw.key(), plain[:-1], good),
        (raw.key(), plain, later),
        (raw.key(), None, good),
        (raw.key(), b'{"given_name": "' + NEEDLE.encode() * 80_000 + b'"}', good),
        (raw.key(), b"[" * 100_000, good),
        (raw.key(), b"\x00\xff" + NEEDLE.encode(), good),
        (b"short", plain, good),
        (None, plain, good),
        (raw.key(), plain, []),
        (raw.key(), plain, raw.headers("somebody-sneezed")),
        (raw.key(), plain, raw.headers("signature-confirmed")),
    ]


@scenario(
    "poison-records",
    rows="23",
    smoke=True,
    without=(Without("drops-dead-letters", (COUNTER,), "A"),),
)
async def poison_records(fire: Fire) -> None:
    """Broken JSON, unknown versions, no value, 1 MB, no key, no headers among the signatures of every partition."""
    sent = 0
    async with raw.producer(fire.stand.kafka) as producer:
        for partition in range(PARTITIONS):
            for key, value, headers in _poison():
                await producer.send_and_wait(SIGNATURES.topic, value, key=key, partition=partition, headers=headers)
                sent += 1
    fire.heal()
    found = await until_dead(fire, sent)
    fire.must(len(found) == sent, f"B: {len(found)} dead letters of {sent} poison records")
    fire.must(all("dlq_reason" in dict(record.headers) for record in found), "A: a dead letter without a reason")
    for path in fire.stand.home.logs.glob("*.log"):
        fire.must(NEEDLE not in path.read_text(errors="replace"), f"E: {path.name} quotes a poison record")
    for kept in fire.stand.services:
        told = await asyncio.to_thread(evidence.measured, fire.stand, kept.name)
        fire.must(NEEDLE not in "".join(told), f"E: a metric of {kept.name} quotes a poison record")


@scenario(
    "deadly-record",
    rows="24",
    without=(Without("never-sets-aside", (COUNTER,), "GA", within_s=60.0),),
)
async def deadly_record(fire: Fire) -> None:
    """A record on which every counter dies: it is tried a few times and set aside, the rest is counted."""
    counter = fire.stand.kept[COUNTER]
    (model, *_) = await evidence.read(fire.stand.kafka, SIGNATURES.topic, fire.marks.ends)
    deadly = raw.key()
    fire.expected.without_row.add(deadly)
    await fire.stand.restart(COUNTER, sabotage="dies-of-a-key", DEADLY_KEY=deadly.hex())
    deaths = counter.deaths
    async with raw.producer(fire.stand.kafka) as producer:
        await producer.send_and_wait(
            SIGNATURES.topic, model.value, key=deadly, partition=1, headers=raw.without(model.headers)
        )
    fire.heal()
    found = await until_dead(fire, 1)
    fire.must(
        [dict(record.headers).get("dlq_reason") for record in found] == [b"ends-the-process"],
        "A: the deadly record is no dead letter",
    )
    deaths = counter.deaths - deaths
    fire.must(0 < deaths <= DEATHS, f"G: {deaths} processes died of one record")
    await fire.stand.restart(COUNTER)


@scenario(
    "hundred-at-once",
    rows="22",
    without=(Without("careless-keys", (INTAKE, LETTERS), "ABC"),),
)
async def hundred_at_once(fire: Fire) -> None:
    """The same signature a hundred times at once, and the same letter under one Idempotency-Key, of ten people."""
    for number in range(10):
        for act in (Act("signature", 10_000_000 + number), Act("letter", 10_000_000 + number)):
            fire.journal.tried.add(act)
            answers = await asyncio.gather(*(fire.load.post(act) for _ in range(AT_ONCE)))
            statuses = {answer.status if answer else 0 for answer in answers}
            fire.must(statuses == {202}, f"H: the same post at once was answered {statuses}")
            receipts = [json.loads(answer.body)["receipt"] for answer in answers if answer and answer.status == 202]
            if receipts:
                fire.journal.acknowledged[act] = receipts[0]
    fire.heal()


@scenario(
    "replayed",
    rows="21",
    confirmation="optional",
    without=(Without("trusts-kafka-offsets", (COUNTER,), "BFG"),),
)
async def replayed(fire: Fire) -> None:
    """Kafka's offsets of every group set back to 0, and `mille replay` over the whole log."""
    stand = fire.stand
    for name, group, topics in GROUPS:
        await stand.kept[name].stop()
        for topic in topics:
            await evidence.set_back(stand.kafka, group, topic)
        await stand.kept[name].start()
    fire.heal()
    await fire.load.reach(100)
    done = await stand.mille("replay")
    fire.must(done.code == 0, f"B: mille replay finds differences: {done.output[-300:]}")


@scenario(
    "new-minor-version",
    rows="25",
    without=(Without("refuses-unknown-fields", (COUNTER,), "A"),),
)
async def new_minor_version(fire: Fire) -> None:
    """An intake that sends fields which the counter does not know, then one that leaves out what may be left out."""
    fire.expected.cut_off = True
    await fire.stand.restart(INTAKE, sabotage="speaks-newer")
    await fire.load.reach(200)
    await fire.stand.restart(INTAKE, sabotage="speaks-older")
    await fire.load.reach(200)
    await fire.stand.restart(INTAKE)
    fire.heal()
    fire.must(not await dead_letters(fire), "A: events of another minor version became dead letters")


async def _redriven(fire: Fire) -> None:
    """Acts of a major version that the counter learns to read only later, redriven twice at once and once more."""
    await fire.stand.restart(INTAKE, sabotage="speaks-the-next-major")
    await fire.load.reach(150)
    await fire.stand.restart(INTAKE)
    await until_dead(fire, 50)
    found = await all_dead(fire)
    fire.must(
        {dict(record.headers)["dlq_reason"] for record in found} == {b"unknown-version"},
        "A: events of another major version are no dead letters",
    )
    fire.expected.redriven = {record.key for record in found if record.key}
    await fire.stand.restart(COUNTER, sabotage="reads-the-next-major")
    for done in await asyncio.gather(fire.stand.mille("dlq", "redrive"), fire.stand.mille("dlq", "redrive")):
        fire.must(done.code == 0, f"A: mille dlq redrive: {done.output[-300:]}")
    await counted(fire, 50)


@scenario(
    "new-major-version",
    rows="25",
    without=(Without("drops-dead-letters", (COUNTER,), "A"),),
)
async def new_major_version(fire: Fire) -> None:
    """A new producer with an old consumer: what it cannot read is a dead letter and is counted after an upgrade."""
    fire.expected.cut_off = True
    await _redriven(fire)
    fire.heal()
    await fire.stand.restart(COUNTER)


@scenario(
    "redriven-twice",
    rows="26",
    without=(Without("forgets-origins", (COUNTER,), "BC"),),
)
async def redriven_twice(fire: Fire) -> None:
    """Dead letters redriven twice at once, then taken back by some people, then redriven by hand once more."""
    fire.expected.cut_off = True
    await _redriven(fire)
    # What earlier scenarios left was redriven with them, and refused again.
    dead = {
        record.key: record for record in await dead_letters(fire) if record.key and record.key in fire.expected.redriven
    }
    back = sorted(dead)[:20]
    # Whoever signs again after taking it back is counted again, and rightly.
    fire.load.repeat_share = 0.0
    await fire.load.settle()
    async with raw.producer(fire.stand.kafka) as producer:
        about = {"campaign": fire.campaign, "case": fire.load.target.case, "subject": fire.load.target.petition}
        for key in back:
            await producer.send_and_wait(
                SIGNATURES.topic,
                json.dumps(about).encode(),
                key=key,
                partition=dead[key].partition,
                headers=raw.headers("signature-withdrawn"),
            )
        for key in back:
            found = dict(dead[key].headers)
            origin = f"{SIGNATURES.topic}/{dead[key].partition}/{found['dlq_offset'].decode()}".encode()
            await producer.send_and_wait(
                SIGNATURES.topic,
                dead[key].value,
                key=key,
                partition=dead[key].partition,
                headers=[*raw.without(dead[key].headers, "dlq_", "ce_origin"), ("ce_origin", origin)],
            )
    fire.expected.change -= len(back)
    fire.heal()

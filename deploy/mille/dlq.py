"""`mille dlq`: list dead letters and put them back on their topics."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from typing import Annotated, Final

import typer
from rich.markup import escape

from deploy.local.connections import connect
from deploy.local.endpoints import Endpoints
from deploy.mille.running_platform import read_endpoints
from deploy.mille.tables import print_table, table
from services.letters.consumers import counted as letters_counted
from services.petitions.consumers import counted as petitions_counted
from shared import topics
from shared.counting.counted_topic import CountedTopic
from shared.errors import SetupError
from shared.kafka.records import Record
from shared.kafka.redrive import (
    DeadLetterRecord,
    LetterId,
    list_dead_letters,
    read_applied,
    read_put_back,
    redrive,
)
from shared.topics import Topic, dead_letter_name

COUNTED_TOPICS: Final = (*petitions_counted.COUNTED, *letters_counted.COUNTED)
NO_RECORD: Final = Record(0, 0, None, None, b"")

app = typer.Typer(add_completion=False, no_args_is_help=True)
TopicName = Annotated[str, typer.Option("--topic", help="Only the dead letters of this topic")]
Reason = Annotated[str, typer.Option(help="Only those that were refused for this reason")]


@app.command("list")
def list_letters(topic: TopicName = "", reason: Reason = "") -> None:
    """Say how many dead letters there are of each topic and reason, and how many of them were counted since.

    Those that a subscription refused were put back since.
    """
    rows = table("topic", "reason", "dead letters", "counted since", "waiting")
    for each in _topics(topic):
        letters = asyncio.run(_read_letters(each, reason))
        applied_counts = Counter(letter.reason for letter, was_applied in letters if was_applied)
        for why, count in sorted(Counter(letter.reason for letter, _ in letters).items()):
            counted = applied_counts[why]
            rows.add_row(each.name, escape(why), str(count), str(counted), str(count - counted))
    if rows.row_count:
        print_table(rows)
    else:
        print("no dead letters")


@app.command("redrive")
def redrive_letters(topic: TopicName = "", reason: Reason = "") -> None:
    """Put the dead letters that were not counted since back on their topics. Repeating it counts nothing twice."""
    at = read_endpoints()
    for each in _topics(topic):
        letters = asyncio.run(_read_letters(each, reason, with_records=True))
        waiting = [letter for letter, was_applied in letters if not was_applied]
        count = asyncio.run(redrive(at["kafka"], each.name, waiting))
        print(f"{each.name}: {count} put back")
        if count < len(waiting):
            print(f"{each.name}: {len(waiting) - count} cannot travel, they stay where they are")


async def _read_letters(
    topic: Topic, reason: str, *, with_records: bool = False
) -> list[tuple[DeadLetterRecord, bool]]:
    """Read the dead letters, each once under the reason of its last refusal, and whether it was counted since.

    Of those that were refused for `reason`, unless that is empty.
    """
    at = read_endpoints()
    by_id: dict[LetterId, DeadLetterRecord] = {}
    async with aclosing(list_dead_letters(at["kafka"], topic.name)) as letters:
        async for letter in letters:
            by_id[letter.id] = letter if with_records else letter._replace(record=NO_RECORD)
    counters = {counted.group for counted in COUNTED_TOPICS}
    others = [letter for letter in by_id.values() if letter.group not in counters]
    applied = await _read_applied(at, topic) | await read_put_back(at["kafka"], topic.name, others)
    return [(letter, id_ in applied) for id_, letter in by_id.items() if reason in {"", letter.reason}]


async def _read_applied(at: Endpoints, topic: Topic) -> set[LetterId]:
    """Read which dead letters the counter of `topic` has counted since, where it is a counted one."""
    groups = [counted.group for counted in COUNTED_TOPICS if counted.topic == topic]
    if not groups:
        return set()
    async with connect(at["databases"][topic.owner]) as connection:
        origins = await read_applied(connection, topic.name)
    return {(group, *origin) for group in groups for origin in origins}


def _topics(name: str) -> list[Topic]:
    """Return the topic called `name`, or, if it is empty, every topic that has dead letters.

    Raises:
        SetupError: no such topic has that name.
    """
    having = [topic for topic in topics.ALL if dead_letter_name(topic.name) in topics.BY_NAME]
    chosen = [topic for topic in having if name in {"", topic.name}]
    if not chosen:
        raise SetupError(f"{name} has no dead letters; these have: {', '.join(topic.name for topic in having)}")
    return chosen


def counted_topics(topic: str) -> list[CountedTopic]:
    """Return the counted topic called `topic`, or all of them if it is empty.

    Raises:
        SetupError: no counted topic has that name.
    """
    chosen = [counted for counted in COUNTED_TOPICS if topic in {"", counted.topic.name}]
    if not chosen:
        raise SetupError(
            f"{topic} is not a counted topic; these are: {', '.join(counted.topic.name for counted in COUNTED_TOPICS)}"
        )
    return chosen

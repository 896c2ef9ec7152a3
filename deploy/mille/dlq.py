"""`mille dlq`: list dead letters and put them back on their topics."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from typing import Annotated, Final

import typer
from rich.markup import escape

from deploy.local.connections import connect
from deploy.mille.running_platform import read_endpoints
from deploy.mille.tables import print_table, table
from services.letters.consumers import counted as letters_counted
from services.petitions.consumers import counted as petitions_counted
from shared.counting.counted_topic import CountedTopic
from shared.errors import SetupError
from shared.kafka.records import Record
from shared.kafka.redrive import DeadLetterRecord, list_dead_letters, read_applied, redrive

COUNTED_TOPICS: Final = (*petitions_counted.COUNTED, *letters_counted.COUNTED)
NO_RECORD: Final = Record(0, 0, None, None, b"")

app = typer.Typer(add_completion=False, no_args_is_help=True)
Topic = Annotated[str, typer.Option(help="Only the dead letters of this topic")]
Reason = Annotated[str, typer.Option(help="Only those that were refused for this reason")]


@app.command("list")
def list_letters(topic: Topic = "", reason: Reason = "") -> None:
    """Say how many dead letters there are of each topic and reason, and how many of them were counted since."""
    rows = table("topic", "reason", "dead letters", "counted since", "waiting")
    for counted in counted_topics(topic):
        letters = asyncio.run(_read_letters(counted, reason))
        applied_counts = Counter(letter.reason for letter, was_applied in letters if was_applied)
        for why, count in sorted(Counter(letter.reason for letter, _ in letters).items()):
            rows.add_row(
                counted.topic.name, escape(why), str(count), str(applied_counts[why]), str(count - applied_counts[why])
            )
    if rows.row_count:
        print_table(rows)
    else:
        print("no dead letters")


@app.command("redrive")
def redrive_letters(topic: Topic = "", reason: Reason = "") -> None:
    """Put the dead letters that were not counted since back on their topics. Repeating it counts nothing twice."""
    at = read_endpoints()
    for counted in counted_topics(topic):
        letters = asyncio.run(_read_letters(counted, reason, with_records=True))
        waiting = [letter for letter, was_applied in letters if not was_applied]
        count = asyncio.run(redrive(at["kafka"], counted.topic.name, waiting))
        print(f"{counted.topic.name}: {count} put back")
        if count < len(waiting):
            print(f"{counted.topic.name}: {len(waiting) - count} cannot travel, they stay where they are")


async def _read_letters(
    counted: CountedTopic, reason: str, *, with_records: bool = False
) -> list[tuple[DeadLetterRecord, bool]]:
    """Read the dead letters, each once under the reason of its last refusal, and whether it was counted since.

    Of those that were refused for `reason`, unless that is empty.
    """
    at = read_endpoints()
    async with connect(at["databases"][counted.topic.owner]) as connection:
        applied_origins = await read_applied(connection, counted.topic.name)
    by_origin: dict[tuple[int, int], DeadLetterRecord] = {}
    async with aclosing(list_dead_letters(at["kafka"], counted.topic.name)) as letters:
        async for letter in letters:
            by_origin[letter.partition, letter.offset] = letter if with_records else letter._replace(record=NO_RECORD)
    return [
        (letter, origin in applied_origins) for origin, letter in by_origin.items() if reason in {"", letter.reason}
    ]


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

"""`mille dlq`: what could not be counted, and putting it back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from typing import Annotated, Final

import asyncpg
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.local import endpoints
from deploy.local.endpoints import Endpoints
from deploy.local.settings import LocalSettings
from services.letters import consumers as letters_consumers
from services.petitions import consumers as petitions_consumers
from shared.counting.counted_topic import CountedTopic
from shared.errors import SetupError
from shared.kafka.records import Record
from shared.kafka.redrive import DeadLetterRecord, applied, list_dead_letters, redrive

COUNTED: Final = (*petitions_consumers.COUNTED, *letters_consumers.COUNTED)
WIDTH: Final = 110
"""No narrower: topics' names would be cut off."""
NOTHING: Final = Record(0, 0, None, None, b"")

app = typer.Typer(add_completion=False, no_args_is_help=True)
Topic = Annotated[str, typer.Option(help="Only the dead letters of this topic")]
Reason = Annotated[str, typer.Option(help="Only those that were refused for this reason")]


@app.command("list")
def list_letters(topic: Topic = "", reason: Reason = "") -> None:
    """Say how many dead letters there are of each topic and reason, and how many of them were counted since."""
    table = Table("topic", "reason", "dead letters", "counted since", "waiting", box=box.SIMPLE)
    for counted in counted_topics(topic):
        found = asyncio.run(_found(counted, _wanted(reason)))
        done = Counter(letter.reason for letter, was_applied in found if was_applied)
        for why, count in sorted(Counter(letter.reason for letter, _ in found).items()):
            table.add_row(counted.topic.name, escape(why), str(count), str(done[why]), str(count - done[why]))
    if table.row_count:
        Console(width=max(WIDTH, Console().width)).print(table)
    else:
        print("no dead letters")


@app.command("redrive")
def redrive_letters(topic: Topic = "", reason: Reason = "") -> None:
    """Put the dead letters that were not counted since back on their topics. Repeating it counts nothing twice."""
    at = _endpoints()
    for counted in counted_topics(topic):
        found = asyncio.run(_found(counted, _wanted(reason), whole=True))
        waiting = [letter for letter, was_applied in found if not was_applied]
        count = asyncio.run(redrive(at["kafka"], counted, waiting))
        print(f"{counted.topic.name}: {count} put back")
        if count < len(waiting):
            print(f"{counted.topic.name}: {len(waiting) - count} cannot travel, they stay where they are")


async def _found(
    counted: CountedTopic, wanted: Callable[[DeadLetterRecord], bool], *, whole: bool = False
) -> list[tuple[DeadLetterRecord, bool]]:
    """The dead letters, each once under the reason of its last refusal, and whether it was counted since."""
    at = _endpoints()
    connection = await asyncpg.connect(at["databases"][counted.topic.owner], timeout=10)
    try:
        done = await applied(connection, counted)
    finally:
        await connection.close(timeout=10)
    by_origin: dict[tuple[int, int], DeadLetterRecord] = {}
    async with aclosing(list_dead_letters(at["kafka"], counted)) as found:
        async for letter in found:
            by_origin[letter.partition, letter.offset] = letter if whole else letter._replace(record=NOTHING)
    return [(letter, origin in done) for origin, letter in by_origin.items() if wanted(letter)]


def counted_topics(topic: str) -> list[CountedTopic]:
    """The counted topic of that name, or all of them.

    Raises:
        SetupError: there is none of that name.
    """
    chosen = [counted for counted in COUNTED if topic in {"", counted.topic.name}]
    if not chosen:
        raise SetupError(f"{topic} is not a counted topic; these are: {', '.join(one.topic.name for one in COUNTED)}")
    return chosen


def _wanted(reason: str) -> Callable[[DeadLetterRecord], bool]:
    return lambda letter: reason in {"", letter.reason}


def _endpoints() -> Endpoints:
    return endpoints.read(LocalSettings().home)

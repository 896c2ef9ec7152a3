"""`mille replay`: counts the topics again from their start, and compares or fills a fresh database."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated

import asyncpg
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from deploy.local import endpoints
from deploy.local.endpoints import Endpoints
from deploy.local.settings import LocalSettings
from deploy.mille.dlq import counted_topics
from shared import migrations
from shared.clock import SystemClock
from shared.counting.counted_topic import CountedTopic
from shared.counting.replay import Report, refill, replay
from shared.database import create_pool
from shared.errors import SetupError

SHOWN = 20
WIDTH = 110
"""No narrower: topics' names would be cut off."""

app = typer.Typer(add_completion=False)


@app.command()
def main(
    topic: Annotated[str, typer.Option(help="Only this topic")] = "",
    service: Annotated[str, typer.Option(help="Only the topics that this service counts")] = "",
    into_empty: Annotated[
        str,
        typer.Option(metavar="URL", help="Fill this fresh database of one service instead of comparing"),
    ] = "",
) -> None:
    """Count again what the topics still hold. Dry, unless --into-empty names a database; nobody is told of it.

    The exit status is 1 where what is held differs from what the log gives.
    """
    at = endpoints.read(LocalSettings().home)
    chosen = [counted for counted in counted_topics(topic) if service in {"", counted.topic.owner}]
    if into_empty:
        asyncio.run(_fill(at["kafka"], chosen, into_empty))
        return
    reports = asyncio.run(_reports(at, chosen))
    _show(reports)
    raise typer.Exit(1 if any(report.differences for report in reports) else 0)


async def _reports(at: Endpoints, chosen: list[CountedTopic]) -> list[Report]:
    found = []
    for counted in chosen:
        async with aclosing(replay(at["databases"][counted.topic.owner], at["kafka"], counted)) as reports:
            async for report in reports:
                found.append(report)  # noqa: PERF401  a comprehension would not close the generator
    return found


def _show(reports: list[Report]) -> None:
    table = Table("topic", "partition", "offsets checked", "rows", "older than that", "differences", box=box.SIMPLE)
    for one in reports:
        checked = f"{one.checked.start} to {one.checked.end - 1}" if one.checked.end > one.checked.start else "none"
        table.add_row(
            one.topic, str(one.partition), checked, str(one.rows), str(one.unknown), str(len(one.differences))
        )
    Console(width=max(WIDTH, Console().width)).print(table)
    for difference in [difference for report in reports for difference in report.differences][:SHOWN]:
        print(difference)


async def _fill(kafka: str, chosen: list[CountedTopic], url: str) -> None:
    owners = {counted.topic.owner for counted in chosen}
    if len(owners) != 1:
        raise SetupError("a database belongs to one service: name it with --service")
    service = owners.pop()
    await asyncio.to_thread(migrations.upgrade, service, url)
    pool = await create_pool(url, application_name="replay")
    try:
        for counted in chosen:
            ranges = await refill(pool, kafka, counted, SystemClock())
            rows = await pool.fetchval(f"SELECT count(*) FROM {counted.table}")  # noqa: S608  a table of ours
            held = ", ".join(f"{number}: {one.start} to {one.end}" for number, one in sorted(ranges.items()))
            print(f"{counted.topic.name}: {rows} rows from the offsets of partitions {held}")
    except asyncpg.PostgresError as error:
        raise SetupError(f"the database could not be filled: {type(error).__name__}") from error
    finally:
        await pool.close()

"""`mille replay`: count the topics again from their start, and compare, or fill a fresh database."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated

import asyncpg
import typer

from deploy.local import databases
from deploy.local.endpoints import Endpoints
from deploy.mille.running_platform import read_endpoints
from deploy.mille.tables import print_table, table
from deploy.recovery.counted_topics import counted_topics
from shared.clock import SystemClock
from shared.counting.counted_topic import CountedTopic
from shared.counting.replay import PartitionReport, refill, replay
from shared.database import create_pool
from shared.errors import SetupError

MAX_DIFFERENCES_SHOWN = 20

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
    chosen, at = counted_topics(topic, service), read_endpoints()
    if into_empty:
        asyncio.run(_fill(at["kafka"], chosen, into_empty))
        return
    reports = asyncio.run(_reports(at, chosen))
    _show(reports)
    raise typer.Exit(1 if any(report.differences for report in reports) else 0)


async def _reports(at: Endpoints, chosen: list[CountedTopic]) -> list[PartitionReport]:
    collected = []
    for counted in chosen:
        async with aclosing(replay(at["databases"][counted.topic.owner], at["kafka"], counted)) as reports:
            async for report in reports:
                collected.append(report)  # noqa: PERF401  a comprehension would not close the generator
    return collected


def _show(reports: list[PartitionReport]) -> None:
    rows = table("topic", "partition", "offsets checked", "rows", "older than that", "differences")
    for report in reports:
        start, end = report.offsets
        checked = f"{start} to {end - 1}" if end > start else "none"
        figures = (report.partition, checked, report.rows, report.older_rows, len(report.differences))
        rows.add_row(report.topic, *map(str, figures))
    print_table(rows)
    for difference in [difference for report in reports for difference in report.differences][:MAX_DIFFERENCES_SHOWN]:
        print(difference)


async def _fill(kafka: str, chosen: list[CountedTopic], url: str) -> None:
    owners = {counted.topic.owner for counted in chosen}
    if len(owners) != 1:
        raise SetupError("a database belongs to one service: name it with --service")
    service = owners.pop()
    await databases.migrate_one(service, url, url)
    pool = await create_pool(url, application_name="replay")
    try:
        for counted in chosen:
            ranges = await refill(pool, kafka, counted, SystemClock())
            rows = await pool.fetchval(f"SELECT count(*) FROM {counted.table}")  # noqa: S608  a table of ours
            offsets = ", ".join(f"{number}: {each.start} to {each.end}" for number, each in sorted(ranges.items()))
            print(f"{counted.topic.name}: {rows} rows from the offsets of partitions {offsets}")
    except asyncpg.PostgresError as error:
        raise SetupError(f"the database could not be filled: {type(error).__name__}") from error
    finally:
        await pool.close()

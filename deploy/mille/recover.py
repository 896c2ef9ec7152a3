"""`mille recover`: what only a person can decide on after a loss. Dry, unless --yes says to do it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Annotated, Any, Final, TypeVar

import asyncpg
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from deploy.local import endpoints
from deploy.local.endpoints import Endpoints
from deploy.local.settings import LocalSettings
from deploy.mille.dlq import counted_topics
from deploy.recovery import compacted, lost_logs, lost_tallies, restored, suppressed
from deploy.recovery.compacted import size
from deploy.recovery.lost_logs import Partition
from shared.clock import parse_rfc3339
from shared.errors import SetupError
from shared.kafka.positions import PositionLostError
from shared.recoveries import noted

CONNECT_S: Final = 10.0
WIDTH: Final = 110
DRY: Final = "Nothing was changed. Repeat with --yes and --reason to do it."
FOUND: Final = 1
"""Exit status where something has to be mended and was not."""

app = typer.Typer(add_completion=False, no_args_is_help=True)
Yes = Annotated[bool, typer.Option("--yes", help="Do it, rather than say what would be done")]
Reason = Annotated[str, typer.Option(help="Why, in a sentence; it is kept in the trail")]
Answer = TypeVar("Answer")


@app.command("log")
def log_(
    *,
    topic: Annotated[str, typer.Option(help="Only this topic")] = "",
    since: Annotated[str, typer.Option(help="From when on records were taken after the loss, RFC 3339")] = "",
    yes: Yes = False,
    reason: Reason = "",
) -> None:
    """Accept a log that lost what was counted, or what was not yet: make partitions readable again.

    Stop the intakes before. Restart counters and notifications afterwards.
    """
    at = _begin(yes=yes, reason=reason)
    moment = _moment(since)
    broken = [
        partition
        for counted in counted_topics(topic)
        for partition in _run(lost_logs.examine(at, counted))
        if partition.broken
    ]
    if not broken:
        print("every partition can be read on")
        return
    _show_partitions(broken)
    for partition in broken:
        print(f"{partition} -> {_run(lost_logs.intent(at, partition, moment))}")
    if not yes:
        _leave(DRY)
    for partition in broken:
        _say(_run(lost_logs.mend(at, partition, since=moment, reason=reason)))


@app.command()
def ledger(*, topic: Annotated[str, typer.Option(help="Only what is counted of this topic")] = "", yes: Yes = False,
           reason: Reason = "") -> None:  # fmt: skip
    """Fill the gaps that lost tally batches leave in marathon's ledger, from the rows; the change is a correction."""
    at = _begin(yes=yes, reason=reason)
    found = [_run(lost_tallies.examine(at, counted)) for counted in counted_topics(topic)]
    # Several counted topics share a tally topic.
    anew = {one.counted.tallies.name: one for one in found if one.another_log}
    broken = [one for one in found if one.gaps or one in anew.values()]
    if not broken:
        print("the ledger lacks nothing that was counted")
        return
    for name, one in anew.items():
        print(f"{name} ends at {one.end}, and was read up to {one.read}: it is another log")
    for gaps in (gaps for one in broken for gaps in one.gaps):
        print(f"{gaps.place}: {lost_tallies.words(gaps)}; by the rows they change the total by {gaps.change}")
    if not yes:
        _leave(DRY)
    for one in broken:
        _say(_run(lost_tallies.mend(at, one, reason, anew=one in anew.values())))


@app.command()
def topics(*, yes: Yes = False, reason: Reason = "") -> None:
    """Tell campaigns, cases, keys, access and totals again, where their topics lack what marathon's database holds."""
    at = _begin(yes=yes, reason=reason)
    here, missing = _run(compacted.examine(at))
    if not any(size(missing).values()):
        print("the topics hold everything that marathon's database does")
        return
    table = Table("", "in the database", "missing on the topics", box=box.SIMPLE)
    for name, count in size(here).items():
        table.add_row(name, str(count), str(size(missing)[name]))
    Console().print(table)
    if not yes:
        _leave(DRY)
    _run(compacted.tell(at, missing, reason))
    left = size(_run(compacted.examine(at))[1])
    if any(left.values()):
        _leave("not everything has arrived on the topics: look at marathon's log and repeat the command")
    print("everything was told again")


@app.command()
def database(
    service: Annotated[str, typer.Argument(help="petitions, letters, marathon or notifications")],
    *,
    yes: Yes = False,
    reason: Reason = "",
) -> None:
    """Make a database that was restored from a backup fit to start on. Its service must be stopped."""
    at = _begin(yes=yes, reason=reason)
    if service not in at["databases"]:
        raise SetupError(f"there is no database {service}; these are: {', '.join(at['databases'])}")
    work = {"marathon": _marathon, "notifications": _notifications}.get(service)
    if work is None:
        _source(at, service, yes=yes, reason=reason)
    else:
        work(at, yes=yes, reason=reason)


def _source(at: Endpoints, service: str, *, yes: bool, reason: str) -> None:
    found = _run(restored.examine_source(at, service))
    table = Table(
        "partition", "counted up to", "epoch", "marathon knows up to", "epoch", "taken back", "", box=box.SIMPLE
    )
    for one in found:
        place, fits = f"{one.topic}/{one.partition}", "" if one.fits else "no tally batch ends here"
        table.add_row(place, str(one.next), str(one.epoch), str(one.known), str(one.heard), str(-one.change), fits)
    Console(width=max(WIDTH, Console().width)).print(table)
    if not all(one.fits for one in found):
        raise SetupError(
            f"marathon has heard of other positions than these: is this a backup of {service}, and was it not counted "
            "into since it was restored?"
        )
    if not yes:
        _leave(DRY)
    epoch = restored.next_epoch(found)
    _run(restored.mend_source(at, service, epoch, reason))
    print(f"epoch {epoch} was begun; start the counters")


def _marathon(at: Endpoints, *, yes: bool, reason: str) -> None:
    newer = _run(restored.examine_marathon(at))
    for name, count in size(newer).items():
        print(f"{name}: {count} that the backup does not hold, or only in an older state")
    if not yes:
        _leave(DRY)
    _run(restored.mend_marathon(at, newer, reason))
    print("they were put back, and the tally topics were read to their ends; start marathon")


def _notifications(at: Endpoints, *, yes: bool, reason: str) -> None:
    found = _run(suppressed.examine(at))
    print(f"{len(found)} recipients wanted no more mail, or addresses had no mailbox any more, since the backup")
    if not found:
        return
    if not yes:
        _leave(DRY)
    _run(suppressed.mend(at, found, reason))
    print("they get no mail; start notifications")


@app.command("list")
def list_() -> None:
    """Show the trail: everything that was ever recovered by hand."""
    at = endpoints.read(LocalSettings().home)
    trail = [(moment, service, one) for service, url in at["databases"].items() for moment, one in _run(_trail(url))]
    for moment, service, (what, place, found, done, reason) in sorted(trail):
        print(f"{moment:%Y-%m-%d %H:%M}  {service}: recover {what}: {place}: {found}; {done} ({reason})")
    if not trail:
        print("nothing was ever recovered by hand")


async def _trail(url: str) -> list[Any]:
    connection = await asyncpg.connect(url, timeout=CONNECT_S)
    try:
        return await noted(connection)
    finally:
        await connection.close(timeout=CONNECT_S)


def _begin(*, yes: bool, reason: str) -> Endpoints:
    if yes and not reason.strip():
        raise SetupError("say with --reason why; it is kept in the trail")
    return endpoints.read(LocalSettings().home)


def _run(work: Coroutine[Any, Any, Answer]) -> Answer:
    try:
        return asyncio.run(work)
    except PositionLostError:
        raise SetupError("somebody counts meanwhile: look again") from None


def _moment(text: str) -> float | None:
    try:
        return parse_rfc3339(text) if text else None
    except ValueError:
        raise SetupError(f"--since {text} is not a time such as 2026-12-01T12:00:00Z") from None


def _show_partitions(partitions: Iterable[Partition]) -> None:
    for partition in partitions:
        print(f"{partition}: the log holds {partition.start} to {partition.end}")
        for standing in partition.standings:
            print(f"  {standing.service} has read up to {standing.next}: {standing.problem or 'can be read on'}")


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _leave(words: str) -> None:
    print(words)
    raise typer.Exit(FOUND)

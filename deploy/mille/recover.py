"""`mille recover`: repairs after a loss that only a person can decide on. A dry run, unless --yes is given."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

import typer

from deploy.local import keys
from deploy.local.connections import connect
from deploy.local.endpoints import Endpoints
from deploy.local.settings import LocalSettings
from deploy.mille.running_platform import read_endpoints
from deploy.mille.tables import print_table, table
from deploy.recovery import compacted_topics, lost_logs, lost_tallies, restored_databases, suppressed_recipients
from deploy.recovery.compacted_topics import count_by_kind
from deploy.recovery.counted_topics import counted_topics
from shared.clock import parse_rfc3339
from shared.errors import SetupError
from shared.kafka.positions import PositionLostError
from shared.privacy.keys import read_secret
from shared.recoveries import Recovery, read_recoveries

NOT_REPAIRED: Final = 1
"""Exit status if something needs a repair and was not repaired."""

app = typer.Typer(add_completion=False, no_args_is_help=True)
Yes = Annotated[bool, typer.Option("--yes", help="Do it, rather than say what would be done")]
Reason = Annotated[str, typer.Option(help="Why, in a sentence; it is kept in the trail")]
Result = TypeVar("Result")


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
    since_seconds = _parse_since(since)
    broken = [
        partition
        for counted in counted_topics(topic)
        for partition in _run(lost_logs.examine(at, counted))
        if partition.broken
    ]
    if not broken:
        print("every partition can be read on")
        return
    for partition in broken:
        print(f"{partition}: the log holds {partition.start} to {partition.end}")
        for reader in partition.readers:
            print(f"  {reader.group} has read up to {reader.next}: {reader.problem or 'can be read on'}")
    for partition in broken:
        print(f"{partition} -> {_run(lost_logs.describe_repair(at, partition, since_seconds))}")
    _end_dry_run(yes=yes)
    for partition in broken:
        print("\n".join(_run(lost_logs.repair(at, partition, since=since_seconds, reason=reason))))


@app.command()
def ledger(
    *,
    topic: Annotated[str, typer.Option(help="Only what is counted of this topic")] = "",
    yes: Yes = False,
    reason: Reason = "",
) -> None:
    """Fill the gaps that lost tally batches leave in marathon's ledger, from the rows; the change is a correction."""
    at = _begin(yes=yes, reason=reason)
    examined = [_run(lost_tallies.examine(at, counted)) for counted in counted_topics(topic)]
    # Several counted topics share a tally topic.
    replaced = {findings.counted.tallies.name: findings for findings in examined if findings.topic_replaced}
    broken = [findings for findings in examined if findings.gaps or findings in replaced.values()]
    if not broken:
        print("the ledger lacks nothing that was counted")
        return
    for name, findings in replaced.items():
        print(f"{name} ends at {findings.end}, and was read up to {findings.read_up_to}: it is another log")
    for gaps in (gaps for findings in broken for gaps in findings.gaps):
        print(f"{gaps.source}: {lost_tallies.describe_gaps(gaps)}; by the rows they change the total by {gaps.change}")
    _end_dry_run(yes=yes)
    for findings in broken:
        from_start = findings in replaced.values()
        repair = lost_tallies.repair(at, findings, reason, ledger_key=_ledger_key(), from_start=from_start)
        print("\n".join(_run(repair)))


@app.command()
def topics(*, yes: Yes = False, reason: Reason = "") -> None:
    """Tell campaigns, cases, keys, access and totals again, where their topics lack what marathon's database holds."""
    at = _begin(yes=yes, reason=reason)
    stored, missing = _run(compacted_topics.examine(at))
    if not any(count_by_kind(missing).values()):
        print("the topics hold everything that marathon's database does")
        return
    rows = table("", "in the database", "missing on the topics")
    for name, count in count_by_kind(stored).items():
        rows.add_row(name, str(count), str(count_by_kind(missing)[name]))
    print_table(rows)
    _end_dry_run(yes=yes)
    _run(compacted_topics.republish(at, missing, reason))
    remaining = count_by_kind(_run(compacted_topics.examine(at))[1])
    if any(remaining.values()):
        _exit_unrepaired("not everything has arrived on the topics: look at marathon's log and repeat the command")
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
    if service == "marathon":
        _repair_marathon(at, yes=yes, reason=reason)
    elif service == "notifications":
        _repair_notifications(at, yes=yes, reason=reason)
    else:
        _repair_source(at, service, yes=yes, reason=reason)


def _repair_source(at: Endpoints, service: str, *, yes: bool, reason: str) -> None:
    counted = [topic for topic in counted_topics("") if topic.topic.owner == service]
    partitions = _run(restored_databases.examine_source(at, service, counted))
    rows = table("partition", "counted up to", "epoch", "marathon knows up to", "epoch", "taken back", "")
    for each in partitions:
        figures = (each.next, each.epoch, each.known_up_to, each.highest_epoch, -each.change)
        fits = "" if each.fits else "no tally batch ends here"
        rows.add_row(f"{each.topic}/{each.partition}", *map(str, figures), fits)
    print_table(rows)
    if not all(partition.fits for partition in partitions):
        raise SetupError(
            f"marathon has heard of other positions than these: is this a backup of {service}, and was it not counted "
            "into since it was restored?"
        )
    _end_dry_run(yes=yes)
    epoch = restored_databases.next_epoch(partitions)
    _run(restored_databases.repair_source(at, service, epoch, reason))
    print(f"epoch {epoch} was begun; start the counters")


def _repair_marathon(at: Endpoints, *, yes: bool, reason: str) -> None:
    newer = _run(restored_databases.examine_marathon(at))
    for name, count in count_by_kind(newer).items():
        print(f"{name}: {count} that the backup does not hold, or only in an older state")
    _end_dry_run(yes=yes)
    _run(restored_databases.repair_marathon(at, newer, reason, _ledger_key()))
    print("they were put back, and the tally topics were read to their ends; start marathon")


def _repair_notifications(at: Endpoints, *, yes: bool, reason: str) -> None:
    suppressions = _run(suppressed_recipients.examine(at))
    print(f"{len(suppressions)} recipients wanted no more mail, or addresses had no mailbox any more, since the backup")
    if not suppressions:
        return
    _end_dry_run(yes=yes)
    _run(suppressed_recipients.repair(at, suppressions, reason))
    print("they get no mail; start notifications")


@app.command("list")
def list_() -> None:
    """Show the trail: everything that was ever recovered by hand, and every dead letter that was dismissed."""
    trail = _run(_trail(read_endpoints()))
    for moment, service, (what, place, found, done, reason) in sorted(trail):
        print(f"{moment:%Y-%m-%d %H:%M}  {service}: {what}: {place}: {found}; {done} ({reason})")
    if not trail:
        print("nothing was ever recovered or dismissed by hand")


async def _trail(at: Endpoints) -> list[tuple[datetime, str, Recovery]]:
    trail = []
    for service, url in at["databases"].items():
        async with connect(url) as connection:
            trail += [(moment, service, recovery) for moment, recovery in await read_recoveries(connection)]
    return trail


def _begin(*, yes: bool, reason: str) -> Endpoints:
    if yes and not reason.strip():
        raise SetupError("say with --reason why; it is kept in the trail")
    return read_endpoints()


def _ledger_key() -> bytes:
    return read_secret(LocalSettings().home.keys / keys.LEDGER)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(work)
    except PositionLostError:
        raise SetupError("somebody counts meanwhile: look again") from None


def _parse_since(text: str) -> float | None:
    try:
        return parse_rfc3339(text) if text else None
    except ValueError:
        raise SetupError(f"--since {text} is not a time such as 2026-12-01T12:00:00Z") from None


def _end_dry_run(*, yes: bool) -> None:
    if not yes:
        _exit_unrepaired("Nothing was changed. Repeat with --yes and --reason to do it.")


def _exit_unrepaired(message: str) -> None:
    print(message)
    raise typer.Exit(NOT_REPAIRED)

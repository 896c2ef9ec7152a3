"""`mille audit`: recompute the totals by other means and compare."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from deploy.audit.audit import audit
from deploy.audit.findings import Report
from deploy.local import endpoints
from deploy.local.settings import LocalSettings

SHOWN: Final = 50
WIDTH: Final = 110
"""No narrower: the names of the sources would be cut off."""

app = typer.Typer(add_completion=False)


@app.command()
def main() -> None:
    """Compare rows, ledger, totals, published documents and the log; the exit status is 1 where anything differs."""
    began = time.monotonic()
    at = endpoints.read(LocalSettings().home)
    report = asyncio.run(audit(at))
    _show(report)
    for words in report.declared:
        print(words)
    for difference in report.differences[:SHOWN]:
        print(difference)
    if len(report.differences) > SHOWN:
        print(f"... and {len(report.differences) - SHOWN} more")
    verdict = "THESE DIFFER" if report.differences else "everything agrees"
    print(
        f"{verdict}: {sum(found.counted for found in report.places.values()):,} counted actions, "
        f"{report.ledger_rows:,} rows of the ledger, {len(report.campaigns)} campaigns, "
        f"in {time.monotonic() - began:.1f} s"
    )
    raise typer.Exit(1 if report.differences else 0)


def _show(report: Report) -> None:
    table = Table("source", "rows", "counted", "ledger", "offsets checked", "submitted", "keys", box=box.SIMPLE)
    for place, found in sorted(report.places.items()):
        checked = f"{found.start} to {found.end - 1}" if found.end > found.start else "none"
        if found.start:
            checked += f" (of {found.next})"
        figures = (found.rows, found.counted, found.ledger or 0)
        table.add_row(
            str(place), *(f"{each:,}" for each in figures), checked, f"{found.submitted:,}", f"{found.keys:,}"
        )
    Console(width=max(WIDTH, Console().width)).print(table)

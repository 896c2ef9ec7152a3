"""`mille audit`: recompute the totals by other means and compare."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import typer

from deploy.audit.audit import audit
from deploy.audit.findings import AuditReport
from deploy.mille.running_platform import read_endpoints
from deploy.mille.tables import print_table, table

MAX_DIFFERENCES_SHOWN: Final = 50

app = typer.Typer(add_completion=False)


@app.command()
def main() -> None:
    """Compare rows, ledger, totals, published documents and the log; the exit status is 1 where anything differs."""
    began = time.monotonic()
    report = asyncio.run(audit(read_endpoints()))
    _show(report)
    for declaration in report.declared:
        print(declaration)
    for difference in report.differences[:MAX_DIFFERENCES_SHOWN]:
        print(difference)
    if len(report.differences) > MAX_DIFFERENCES_SHOWN:
        print(f"... and {len(report.differences) - MAX_DIFFERENCES_SHOWN} more")
    verdict = "THESE DIFFER" if report.differences else "everything agrees"
    print(
        f"{verdict}: {sum(found.counted for found in report.partitions.values()):,} counted actions, "
        f"{report.ledger_rows:,} rows of the ledger, {len(report.campaigns)} campaigns, "
        f"in {time.monotonic() - began:.1f} s"
    )
    raise typer.Exit(1 if report.differences else 0)


def _show(report: AuditReport) -> None:
    rows = table("source", "rows", "counted", "ledger", "offsets checked", "submitted", "keys")
    for partition, checked in sorted(report.partitions.items()):
        offsets = f"{checked.start} to {checked.end - 1}" if checked.end > checked.start else "none"
        if checked.start:
            offsets += f" (of {checked.next})"
        figures = (checked.rows, checked.counted, checked.ledger or 0)
        rows.add_row(
            str(partition), *(f"{each:,}" for each in figures), offsets, f"{checked.submitted:,}", f"{checked.keys:,}"
        )
    print_table(rows)

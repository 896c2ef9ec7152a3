"""`mille doctor`: check each part and say how to mend what is wrong."""

from __future__ import annotations

import asyncio

import typer
from rich.console import Console

from deploy.local import diagnosis
from deploy.local.settings import LocalSettings

app = typer.Typer(add_completion=False)


@app.command()
def doctor() -> None:
    """Check each part; the exit status is 1 where anything is wrong."""
    console = Console(soft_wrap=True, highlight=False)
    findings = asyncio.run(diagnosis.examine(LocalSettings()))
    for finding in findings:
        status = "[red]bad [/]" if finding.remedy else "[green]ok  [/]"
        console.print(f"{status} {finding.part}: ", end="")
        console.print(finding.description, markup=False)
        if finding.remedy:
            console.print(f"       -> {finding.remedy}", markup=False)
    raise typer.Exit(1 if any(finding.remedy for finding in findings) else 0)

"""`mille bench`: measure. The measuring itself is in tests/bench."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

from deploy.local.home import PROJECT

app = typer.Typer(add_completion=False)


@app.command()
def bench(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", envvar="QUICK", help="Four minutes: three rows and the rivals")
    ] = False,
) -> None:
    """Measure on a platform of its own, print a table, write build/bench.json and docs/benchmarks.md."""
    environment = {**os.environ, "QUICK": "1" if quick else ""}
    argv = [sys.executable, "-m", "tests.bench"]
    process = subprocess.Popen(argv, cwd=PROJECT, env=environment)
    while True:
        try:
            raise typer.Exit(process.wait())
        except KeyboardInterrupt:
            continue  # the bench has had it too, and stops its platform first

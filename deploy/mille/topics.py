"""`mille topics`: check or create the Kafka topics."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from deploy.local import topics
from deploy.local.settings import LocalSettings

app = typer.Typer(add_completion=False)


@app.command()
def main(
    *,
    create: Annotated[
        bool, typer.Option("--create/--check", help="Create and mend them, or only say what is not as declared")
    ] = False,
) -> None:
    """Compare the broker's topics with shared/topics.py; the exit status is 1 where they differ and stay so."""
    settings = LocalSettings()
    check_or_create = topics.create if create else topics.compare
    differences = asyncio.run(
        check_or_create(settings.bootstrap_servers, flush=settings.flush, production=settings.production)
    )
    for difference in differences:
        print(f"mended: {difference}" if create else difference)
    if not differences:
        print("every topic is as declared")
    raise typer.Exit(1 if differences and not create else 0)

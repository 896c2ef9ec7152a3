"""`mille run`: start everything and keep it running."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

import typer

from deploy.local import platform
from deploy.local.settings import LocalSettings

app = typer.Typer(add_completion=False)


@app.command()
def run(
    *,
    platform_only: Annotated[bool, typer.Option("--platform-only", help="Kafka, PostgreSQL and mailbox alone")] = False,
    no_mail: Annotated[bool, typer.Option("--no-mail", help="Without notifications and mailbox")] = False,
) -> None:
    """Start everything and keep it running until Ctrl-C or SIGTERM."""
    options = platform.Options(platform_only=platform_only, mail=not no_mail)
    asyncio.run(platform.run(LocalSettings(), options, print_line))


def print_line(line: str) -> None:
    """Print a line for people, unbuffered even into a file; a closed output is no error."""
    with suppress(OSError):
        print(line, flush=True)

"""`mille demo`: replay a real petition through the whole system and compare the totals."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from deploy.demo import plan as planning
from deploy.demo.display import Display
from deploy.demo.driver import Driver
from deploy.local import platform
from deploy.local.endpoints import Endpoints
from deploy.local.settings import LocalSettings
from shared.clock import SystemClock, rfc3339, utc

app = typer.Typer(add_completion=False)
INTERRUPTED = 130


@app.command()
def demo(
    scale: Annotated[int, typer.Option(envvar="SCALE", min=1, help="Replay one in SCALE of the published counts")] = 10,
) -> None:
    """Start everything, replay a real petition of five million signatures, and compare country by country.

    Exit status 0 only if every total is exactly as expected. On a terminal the board stays up until Ctrl-C.
    """
    display = Display(Console())
    verdicts: list[bool] = []

    async def replay(at: Endpoints) -> None:
        now = SystemClock().now()
        plan = planning.make_plan(f"{utc(now):%Y%m%d%H%M%S}", rfc3339(now), scale)
        verdicts.append(await Driver(at, settings.home.root, plan, display).run())
        display.print_line("Every total is exact." if verdicts[-1] else "Something differs: see above.")
        if display.interactive:
            display.print_line(f"The board stays up until Ctrl-C: {display.figures.board}")
            await asyncio.Event().wait()

    settings = LocalSettings()
    asyncio.run(platform.run(settings, platform.Options(), display.print_line, replay))
    raise typer.Exit(INTERRUPTED if not verdicts else int(not verdicts[0]))

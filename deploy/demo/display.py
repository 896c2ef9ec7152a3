"""Display the demo's progress: a live table of figures on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

PLAIN_EVERY_SECONDS: Final = 5.0
RATE_WINDOW_SECONDS: Final = 5.0


@dataclass(slots=True)
class Figures:
    """The displayed figures. `acknowledged` counts actions answered with 202, `counted` is the public total."""

    board: str = ""
    step: str = "starting"
    target: int = 0
    acknowledged: int = 0
    counted: int = 0
    lag_seconds: float = 0.0
    state: str = ""
    mails: int = 0
    mails_target: int = 0
    _samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=64))

    def record_acknowledged(self, acknowledged: int) -> None:
        """Set `acknowledged`, and keep a sample for the rate."""
        self.acknowledged = acknowledged
        self._samples.append((time.monotonic(), acknowledged))

    def rate(self) -> float:
        """Return the actions acknowledged per second over the last `RATE_WINDOW_SECONDS`."""
        now = time.monotonic()
        first = next((sample for sample in self._samples if now - sample[0] <= RATE_WINDOW_SECONDS), None)
        return (self.acknowledged - first[1]) / (now - first[0]) if first else 0.0


class Display:
    """Displays `figures`; `print_line` prints a line above them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.figures = Figures()
        self.interactive = console.is_terminal

    def print_line(self, line: str) -> None:
        """Print `line` and flush it."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        self.console.file.flush()

    async def follow(self) -> None:
        """Display the figures until cancelled."""
        if self.interactive:
            with Live(
                get_renderable=self._table,
                console=self.console,
                refresh_per_second=4,
                transient=True,
            ):
                await asyncio.Event().wait()
        while True:
            await asyncio.sleep(PLAIN_EVERY_SECONDS)
            self.print_line(self._line())

    def _table(self) -> Table:
        figures = self.figures
        table = Table.grid(padding=(0, 2))
        share = figures.counted / figures.target if figures.target else 0.0
        table.add_row("", figures.step)
        table.add_row("acknowledged", f"{figures.acknowledged:,}  ({figures.rate():,.0f} a second)")
        table.add_row("counted", f"{figures.counted:,} of {figures.target:,}  {share:.1%}")
        table.add_row("behind", f"{figures.lag_seconds:.1f} s  {figures.state}")
        table.add_row("mails", f"{figures.mails:,} of {figures.mails_target:,}")
        table.add_row("board", figures.board)
        return table

    def _line(self) -> str:
        figures = self.figures
        return (
            f"{figures.step}: {figures.acknowledged:,} acknowledged ({figures.rate():,.0f}/s), "
            f"{figures.counted:,} of {figures.target:,} counted, {figures.lag_seconds:.1f} s behind, "
            f"{figures.mails:,} of {figures.mails_target:,} mails, board {figures.board}"
        )

"""The tables that commands print."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

MIN_WIDTH: Final = 110
"""In a narrower table, topics' names and times would be cut off."""


def table(*headers: str) -> Table:
    """Return an empty table."""
    return Table(*headers, box=box.SIMPLE)


def print_table(rows: Table) -> None:
    """Print a table as wide as its words need."""
    Console(width=max(MIN_WIDTH, Console().width)).print(rows)

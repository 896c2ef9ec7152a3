"""`python -m tests.bench`; QUICK=1 for the short one, ROWS=single,streams for some rows alone."""

from __future__ import annotations

import os
import sys
import time
from typing import Final

import stamina
from rich.console import Console

from deploy.local.home import PROJECT
from shared.clock import SystemClock, rfc3339
from shared.errors import MilleplumesError
from tests.bench import machine, report, wrk
from tests.bench.rounds import Bench, select_rows

MAX_BUSY_SHARE: Final = 0.05


def main() -> int:
    """Measure, print, write; the exit status is 0 only if every row was exact."""
    console = Console()

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.file.flush()

    stamina.instrumentation.set_on_retry_hooks([])
    began = time.monotonic()
    busy = machine.busy_share()
    if busy > MAX_BUSY_SHARE:
        say(f"{busy:.0%} of this machine is in use already: the figures will be lower than they could be")
    quick = os.environ.get("QUICK", "") not in ("", "0")
    names = os.environ.get("ROWS", "").replace(",", " ").split()
    try:
        rows = select_rows(quick, names)
        figures = Bench(wrk.find(), quick, say, rows).run()
    except MilleplumesError as error:
        say(str(error))
        return 1
    report.print_table(console, figures)
    about = report.RunInfo(machine.here(), rfc3339(SystemClock().now()), busy, time.monotonic() - began, quick, names)
    written = report.write(figures, about)
    say(f"Written: {', '.join(str(file.relative_to(PROJECT)) for file in written)}")
    return 0 if figures["exact"] else 1


if __name__ == "__main__":
    sys.exit(main())

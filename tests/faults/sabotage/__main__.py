"""Does the sabotage and runs a module as `python -m` would."""

from __future__ import annotations

import runpy
import sys

from tests.faults.sabotage import counting, from_inside, intakes, mails, records
from tests.faults.sabotage.registry import SABOTAGES

PARTS = (counting, from_inside, intakes, mails, records)
"""Importing them puts what they have on the list."""


def main() -> None:
    """The names, the module, its arguments."""
    names, module, *arguments = sys.argv[1:]
    for name in names.split(","):
        SABOTAGES[name]()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

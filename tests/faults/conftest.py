"""Select scenarios, share stands between them, and collect verdicts for the report."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import pytest
import pytest_asyncio

from tests.faults import report
from tests.faults.disks import NoDiskError
from tests.faults.evidence import Tallies
from tests.faults.scenarios import SCENARIOS
from tests.faults.stand import Layout, Stand, open_stand

SEED: Final = int(os.environ.get("SEED", "20261121"))
ONLY: Final = frozenset(name for name in os.environ.get("ONLY", "").replace(",", " ").split() if name)
SABOTAGED: Final = bool(os.environ.get("SABOTAGED"))
"""Whether each scenario is to be run with a protection taken out, to see that the checker notices."""
SCENARIO_S: Final = 420


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="run every scenario, not only the worst six")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if unknown := ONLY - SCENARIOS.keys():
        raise pytest.UsageError(f"no such scenario: {', '.join(sorted(unknown))}. There are: {', '.join(SCENARIOS)}")
    selected: list[pytest.Item] = []
    deselected: list[pytest.Item] = []
    for item in items:
        marker = item.get_closest_marker("fault")
        if marker is None:
            selected.append(item)
            continue
        item.add_marker(pytest.mark.timeout(SCENARIO_S))
        name, smoke, sabotaged = marker.args
        whole = config.getoption("--faults", default=False) and sabotaged == SABOTAGED
        chosen = name in ONLY if ONLY else whole or (smoke and not SABOTAGED)
        (selected if chosen else deselected).append(item)
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = selected


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--faults", default=False) and not ONLY:
        report.write()


class Stands:
    """At most one stand at a time; the next scenario of the same layout takes it over unless it is ruined."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._stand: Stand | None = None
        self._tallies: Tallies | None = None

    async def acquire(self, layout: Layout, sabotage: dict[str, str] | None = None) -> tuple[Stand, Tallies]:
        """Return a stand of `layout`; one with `sabotage` is always new, and used once."""
        if self._stand is None or self._stand.ruined or self._stand.layout != layout or sabotage:
            await self.close()
            try:
                self._stand = await self._stack.enter_async_context(open_stand(layout, sabotage))
            except NoDiskError as error:
                pytest.skip(str(error))
            self._tallies = Tallies(self._stand)
        assert self._tallies is not None
        if sabotage:
            self._stand.ruined = True
        return self._stand, self._tallies

    async def close(self) -> None:
        """Take the current stand down."""
        self._stand = None
        await self._stack.aclose()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stands() -> AsyncIterator[Stands]:
    pool = Stands()
    yield pool
    await pool.close()

"""The platform under MILLE_HOME, as commands find it while it is up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from deploy.local import endpoints
from deploy.local.connections import connect
from deploy.local.settings import LocalSettings

Result = TypeVar("Result")


def read_endpoints() -> endpoints.Endpoints:
    """Read the platform's endpoints.

    Raises:
        SetupError: no platform is up.
    """
    return endpoints.read(LocalSettings().home)


def run_on_marathon(work: Callable[[asyncpg.Connection], Awaitable[Result]]) -> Result:
    """Run `work` on a connection to marathon's database.

    Raises:
        SetupError: no platform is up. OSError, asyncpg.PostgresError: the database cannot be reached.
    """
    url = read_endpoints()["databases"]["marathon"]

    async def run() -> Result:
        async with connect(url) as connection:
            return await work(connection)

    return asyncio.run(run())

"""Fixtures for every test: a real broker and database server, fresh databases and topics, the whole system."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.endpoints import Endpoints
from tests.support.databases import DatabaseFactory
from tests.support.running import MilleRun, mille_run, temporary_home
from tests.support.topics import TopicFactory


@pytest.fixture(scope="session")
def platform() -> Iterator[Endpoints]:
    """A real Kafka, PostgreSQL and mailbox, started once.

    MILLE_TEST_PLATFORM names the `endpoints.json` of one that is up already, which saves its start.
    """
    if given := os.environ.get("MILLE_TEST_PLATFORM"):
        yield json.loads(Path(given).read_text())
        return
    with temporary_home() as home, mille_run(home, "--platform-only") as running:
        yield running.wait_until_up()


@pytest.fixture(scope="session")
def system() -> Iterator[MilleRun]:
    """Everything, as `mille run` starts it, with a home and ports of its own."""
    with temporary_home() as home, mille_run(home) as running:
        running.wait_until_up()
        yield running


@pytest.fixture(scope="session")
def databases(platform: Endpoints) -> Iterator[DatabaseFactory]:
    """The maker of databases; tests take `make_database`."""
    maker = DatabaseFactory(platform)
    yield maker
    asyncio.run(maker.close())


@pytest.fixture
async def make_database(databases: DatabaseFactory) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """`await make_database("petitions")`: the address of a fresh database with that service's newest schema."""
    yield databases.make
    await databases.drop()


@pytest.fixture
async def make_topic(platform: Endpoints) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """`await make_topic(topics.SIGNATURES, partitions=2)`: the name of a fresh topic."""
    maker = TopicFactory(platform["kafka"])
    yield maker.make
    await maker.close()

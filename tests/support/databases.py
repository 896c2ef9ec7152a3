"""Fresh, migrated databases for tests, cloned from one template for each service."""

from __future__ import annotations

import asyncio
import secrets
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from deploy.local.databases import in_database
from deploy.local.endpoints import Endpoints
from shared import migrations


async def change_schema(at: Endpoints, url: str, statement: str) -> None:
    """Run `statement` in the database at `url` as the administrator: no service may change its own schema."""
    connection = await asyncpg.connect(in_database(at["administrator"], urlsplit(url).path[1:]), timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=10)


class DatabaseFactory:
    """Makes databases on a running server and drops them when closed."""

    def __init__(self, at: Endpoints) -> None:
        self._at = at
        self._templates: dict[str, str] = {}
        self._created: list[str] = []

    async def make(self, service: str) -> str:
        """Create a database with the newest schema of `service`; return its URL, with the service's own role."""
        if service not in self._templates:
            self._templates[service] = await self._make_template(service)
        name = f"test_{service}_{secrets.token_hex(6)}"
        await self._create(name, service, self._templates[service])
        return self._url(service, name)

    async def drop(self) -> None:
        """Drop every created database except the templates."""
        await self._drop(self._created)
        self._created = []

    async def close(self) -> None:
        """Drop everything."""
        await self._drop([*self._created, *self._templates.values()])

    async def _make_template(self, service: str) -> str:
        name = f"test_template_{service}_{secrets.token_hex(6)}"
        await self._create(name, service, "template0")
        self._created.remove(name)
        await asyncio.to_thread(migrations.upgrade, service, in_database(self._at["administrator"], name))
        return name

    async def _create(self, name: str, service: str, template: str) -> None:
        await self._execute(f"CREATE DATABASE {name} OWNER {migrations.owner_of(service)} TEMPLATE {template}")
        self._created.append(name)

    async def _drop(self, names: list[str]) -> None:
        for name in names:
            await self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._at["administrator"], timeout=10)
        try:
            await connection.execute(statement, timeout=60)
        finally:
            await connection.close(timeout=10)

    def _url(self, service: str, name: str) -> str:
        return urlunsplit(urlsplit(self._at["databases"][service])._replace(path=f"/{name}"))

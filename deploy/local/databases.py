"""One database and one role for each service, and their schemas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from deploy.local.connections import connect
from deploy.local.home import Home
from deploy.local.passwords import passwords
from shared import migrations
from shared.errors import SetupError

SERVICES: Final = ("petitions", "letters", "notifications", "marathon")

_ROLE_EXISTS = "SELECT 1 FROM pg_roles WHERE rolname = $1"
_DATABASE_EXISTS = "SELECT 1 FROM pg_database WHERE datname = $1"


def urls(home: Home, administrator_url: str) -> dict[str, str]:
    """The address of each service's database, with its own role and password, on the administrator's server."""
    secrets = passwords(home, *SERVICES)
    return {name: _url(administrator_url, name, secrets[name]) for name in SERVICES}


async def create(administrator_url: str, service_urls: Mapping[str, str], *, whole_server: bool) -> None:
    """Make the roles and the database of each service, where they are missing; let each service into its own alone.

    `<service>_owner` owns the tables and signs in nowhere; the running service's role gets what the migrations grant.

    `whole_server` says that the server is ours: then no role gets into the server's own databases either.

    Raises:
        asyncpg.PostgresError: the administrator may not do that.
    """
    async with connect(administrator_url) as connection:
        for name, url in service_urls.items():
            await _create_database(connection, name, urlsplit(url).password or "")
        if whole_server:
            await connection.execute("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")


async def migrate(administrator_url: str, service_urls: Mapping[str, str]) -> None:
    """Bring each service's database to the newest schema; one that has it is not touched."""
    for service, url in service_urls.items():
        await migrate_one(service, url, in_database(administrator_url, service))


async def migrate_one(service: str, url: str, administrator_url: str) -> None:
    """Bring the database of `service` at `url` to the newest schema, as the administrator of that database."""
    if not await _has_newest_schema(service, url):
        await asyncio.to_thread(migrations.upgrade, service, administrator_url)


async def _has_newest_schema(service: str, url: str) -> bool:
    async with connect(url) as connection:
        try:
            await migrations.check(connection, service)
        except (SetupError, asyncpg.InsufficientPrivilegeError):
            return False
    return True


async def _create_database(connection: asyncpg.Connection, name: str, password: str) -> None:
    # Names come from SERVICES and passwords from token_urlsafe: neither can hold a quote.
    verb = "ALTER" if await connection.fetchval(_ROLE_EXISTS, name) else "CREATE"
    await connection.execute(f"{verb} ROLE {name} LOGIN PASSWORD '{password}'")
    owner = migrations.owner_of(name)
    if not await connection.fetchval(_ROLE_EXISTS, owner):
        await connection.execute(f"CREATE ROLE {owner} NOLOGIN")
    await connection.execute(f"GRANT {owner} TO CURRENT_USER")
    if not await connection.fetchval(_DATABASE_EXISTS, name):
        await connection.execute(f"CREATE DATABASE {name} OWNER {owner} TEMPLATE template0")
    await connection.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    await connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {name}")


def in_database(administrator_url: str, name: str) -> str:
    """The administrator's address of the database `name`."""
    return urlunsplit(urlsplit(administrator_url)._replace(path=f"/{name}"))


def _url(administrator_url: str, name: str, password: str) -> str:
    parts = urlsplit(administrator_url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(("postgresql", f"{name}:{quote(password)}@{host}", f"/{name}", parts.query, ""))

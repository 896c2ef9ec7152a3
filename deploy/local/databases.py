"""One database and one role for each service, and their schemas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from deploy.local.home import Home
from deploy.local.passwords import passwords
from shared import migrations
from shared.errors import SetupError

SERVICES: Final = ("petitions", "letters", "notifications", "marathon")
CONNECT_SECONDS: Final = 10.0

_ROLE_EXISTS = "SELECT 1 FROM pg_roles WHERE rolname = $1"
_DATABASE_EXISTS = "SELECT 1 FROM pg_database WHERE datname = $1"


def urls(home: Home, administrator_url: str) -> dict[str, str]:
    """The address of each service's database, with its own role and password, on the administrator's server."""
    secrets = passwords(home, *SERVICES)
    return {name: _url(administrator_url, name, secrets[name]) for name in SERVICES}


async def create(administrator_url: str, service_urls: Mapping[str, str], *, whole_server: bool) -> None:
    """Make the role and the database of each service, where they are missing; let each role into its own alone.

    `whole_server` says that the server is ours: then no role gets into the server's own databases either.

    Raises:
        asyncpg.PostgresError: the administrator may not do that.
    """
    connection = await asyncpg.connect(administrator_url, timeout=CONNECT_SECONDS)
    try:
        for name, url in service_urls.items():
            await _create_one(connection, name, urlsplit(url).password or "")
        if whole_server:
            await connection.execute("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


async def migrate(service_urls: Mapping[str, str]) -> None:
    """Bring each service's database to the newest schema; one that has it is not touched."""
    for service, url in service_urls.items():
        if not await _current(service, url):
            await asyncio.to_thread(migrations.upgrade, service, url)


async def _current(service: str, url: str) -> bool:
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        await migrations.check(connection, service)
    except SetupError:
        return False
    finally:
        await connection.close(timeout=CONNECT_SECONDS)
    return True


async def _create_one(connection: asyncpg.Connection, name: str, password: str) -> None:
    # Names come from SERVICES and passwords from token_urlsafe: neither can hold a quote.
    verb = "ALTER" if await connection.fetchval(_ROLE_EXISTS, name) else "CREATE"
    await connection.execute(f"{verb} ROLE {name} LOGIN PASSWORD '{password}'")
    await connection.execute(f"GRANT {name} TO CURRENT_USER")
    if not await connection.fetchval(_DATABASE_EXISTS, name):
        await connection.execute(f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0")
    await connection.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")


def _url(administrator_url: str, name: str, password: str) -> str:
    parts = urlsplit(administrator_url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(("postgresql", f"{name}:{quote(password)}@{place}", f"/{name}", parts.query, ""))

"""Migrations: alembic with raw SQL, one environment for all services, revisions with each service.

Revisions stand in `services/<service>/migrations/versions`. A service checks at start that its database has exactly the
schema it was written for and refuses to run on any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import asyncpg
from alembic import command, op
from alembic.config import Config
from alembic.script import ScriptDirectory

from shared.errors import SetupError

ENVIRONMENT: Final = Path(__file__).parent / "alembic"
SERVICES: Final = Path(__file__).parents[1] / "services"
VERSION_TABLE: Final = "schema_version"

_CURRENT = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  a constant


def _config(service: str, url: str | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(ENVIRONMENT))
    config.set_main_option("version_locations", str(SERVICES / service / "migrations" / "versions"))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = url
    return config


def upgrade(service: str, url: str) -> None:
    """Bring the database of `service` at `url` (postgresql://...) to the newest schema.

    Repeating it changes nothing.
    """
    command.upgrade(_config(service, url), "head")


def head(service: str) -> str:
    """The schema revision that the code of `service` is written for.

    Raises:
        SetupError: the service has no migrations, or more than one newest.
    """
    heads = ScriptDirectory.from_config(_config(service)).get_heads()
    if len(heads) != 1:
        raise SetupError(f"{service} has {len(heads)} newest migrations; it needs exactly one")
    return heads[0]


async def check(connection: asyncpg.Connection, service: str) -> None:
    """Make sure that the schema is the one the code knows.

    Raises:
        SetupError: the schema is missing, older or newer.
    """
    wanted = head(service)
    try:
        current = await connection.fetchval(_CURRENT)
    except asyncpg.UndefinedTableError:
        current = None
    if current != wanted:
        raise SetupError(f"database of {service} has schema {current}, the code needs {wanted}: run its migrations")


def execute(script: str) -> None:
    """Run a revision's raw SQL, which may hold several statements, in the migration's transaction."""
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None  # noqa: S101  alembic holds it open while a revision runs
    connection.run_async(lambda driver: driver.execute(script))

"""Migrations: alembic with raw SQL, one environment for all services, revisions with each service.

Revisions stand in `services/<service>/migrations/versions`. A service checks at start that its database has exactly the
schema it was written for and refuses to run on any other. That check needs no alembic, whose import takes most of a
second and 20 MB: only who migrates pays for it.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from shared.errors import SetupError

if TYPE_CHECKING:
    from alembic.config import Config

ENVIRONMENT: Final = Path(__file__).parent / "alembic"
SERVICES: Final = Path(__file__).parents[1] / "services"
VERSION_TABLE: Final = "schema_version"

_CURRENT = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  a constant


def config(service: str, url: str | None = None) -> Config:
    """Alembic's configuration for `service`, with the database's address where one is needed."""
    from alembic.config import Config

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
    from alembic import command

    command.upgrade(config(service, url), "head")


def head(service: str) -> str:
    """The schema revision that the code of `service` is written for.

    Raises:
        SetupError: the service has no migrations, or more than one newest.
    """
    revisions = [_revision(path) for path in (SERVICES / service / "migrations" / "versions").glob("*.py")]
    followed = {names.get("down_revision") for names in revisions}
    heads = [names["revision"] for names in revisions if names["revision"] not in followed]
    if len(heads) != 1 or heads[0] is None:
        raise SetupError(f"{service} has {len(heads)} newest migrations; it needs exactly one")
    return heads[0]


def _revision(path: Path) -> dict[str, str | None]:
    """The `revision` and `down_revision` that the file at `path` assigns."""
    return {
        target.id: ast.literal_eval(statement.value)
        for statement in ast.parse(path.read_bytes()).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name) and target.id in {"revision", "down_revision"}
    }


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
    from alembic import op

    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None  # noqa: S101  alembic holds it open while a revision runs
    connection.run_async(lambda driver: driver.execute(script))

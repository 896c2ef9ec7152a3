"""Migrations: alembic with raw SQL, one environment for all services, revisions with each service.

Revisions are in `services/<service>/migrations/versions`. A service checks at start that its database has exactly the
schema it was written for and refuses to run on any other. That check does not import alembic, which takes most of a
second and 20 MB: only a migration pays for it.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from shared.errors import SetupError

if TYPE_CHECKING:
    from alembic.config import Config

ENVIRONMENT_FOLDER: Final = Path(__file__).parent / "alembic"
SERVICES_FOLDER: Final = Path(__file__).parents[1] / "services"
VERSION_TABLE: Final = "schema_version"

_CURRENT = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  a constant


def config(service: str, url: str | None = None) -> Config:
    """Return Alembic's configuration for `service`, with the database's address where one is needed."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(ENVIRONMENT_FOLDER))
    config.set_main_option("version_locations", str(SERVICES_FOLDER / service / "migrations" / "versions"))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = url
    config.attributes["service"] = service
    return config


def upgrade(service: str, url: str) -> None:
    """Bring the database of `service` at `url` (postgresql://...) to the newest schema.

    `url` is an administrator's: revisions run as the role that owns the schema, which the running service is not.
    Repeating it changes nothing.

    Raises:
        SetupError: the database has a revision that this code does not know, or the revisions are not in one line.
    """
    from alembic import command
    from alembic.util import CommandError

    try:
        command.upgrade(config(service, url), "head")
    except CommandError as error:
        raise SetupError(f"database of {service} cannot be migrated by this code: {error}") from error


def owner_of(service: str) -> str:
    """The role that owns the tables of `service`. Nobody signs in under it."""
    return f"{service}_owner"


def head(service: str) -> str:
    """Return the schema revision that the code of `service` is written for.

    Raises:
        SetupError: the service has no migrations, or more than one newest.
    """
    revisions = [_revision(path) for path in (SERVICES_FOLDER / service / "migrations" / "versions").glob("*.py")]
    parents = {names.get("down_revision") for names in revisions}
    heads = [names["revision"] for names in revisions if names["revision"] not in parents]
    if len(heads) != 1 or heads[0] is None:
        raise SetupError(f"{service} has {len(heads)} newest migrations; it needs exactly one")
    return heads[0]


def _revision(path: Path) -> dict[str, str | None]:
    """Return the `revision` and `down_revision` that the file at `path` assigns."""
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
    expected = head(service)
    try:
        current = await connection.fetchval(_CURRENT)
    except asyncpg.UndefinedTableError:
        current = None
    if current != expected:
        raise SetupError(f"database of {service} has schema {current}, the code needs {expected}: run its migrations")


def execute_beside(revision: str) -> None:
    """Run the SQL file beside that of a revision (`__file__`) in the migration's transaction."""
    from alembic import op

    script = Path(revision).with_suffix(".sql").read_text()
    connection = op.get_bind().connection.dbapi_connection
    assert connection is not None  # noqa: S101  alembic holds it open while a revision runs
    connection.run_async(lambda driver: driver.execute(script))

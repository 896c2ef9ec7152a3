"""`mille setup`: prepare Kafka and PostgreSQL that are run elsewhere, and hand each service its own secrets.

`mille run` does the same for the local platform. Every step may be repeated; what is there already stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import stamina
import typer
from pydantic import Field, ValidationError

from deploy.local import databases, endpoints, keys, topics
from deploy.local.connections import connect
from deploy.local.home import write_private
from deploy.local.passwords import passwords
from deploy.local.postgres import ADMINISTRATOR
from deploy.local.processes import KEY_SETTINGS, PROCESSES
from deploy.local.settings import LocalSettings
from shared.errors import SetupError
from shared.settings import Origin

PASSWORD_FILE: Final = "password"  # noqa: S105  a file's name
PGPASS_FILE: Final = "pgpass"
"""A password file as libpq and asyncpg read it (PGPASSFILE): database addresses then need no password."""
DATABASE_TIMEOUT_SECONDS: Final = 120

_NOT_READY_ERRORS: Final = (OSError, asyncpg.CannotConnectNowError)

app = typer.Typer(add_completion=False)


class OutsideSettings(LocalSettings):
    """The addresses of the outside Kafka and PostgreSQL, and in the four `*_url` those of the services for commands."""

    kafka_bootstrap_servers: str = Field(min_length=1)
    database_url: str = Field(min_length=1)
    marathon_url: Origin
    petitions_url: Origin
    letters_url: Origin
    notifications_url: Origin


@app.command("secrets")
def hand_out(
    folder: Annotated[Path, typer.Argument(help="Gets one folder for each service and one for the administrator")],
) -> None:
    """Make the keys and passwords that are missing under MILLE_HOME; copy to each service's folder what is its own."""
    home = LocalSettings().home
    home.make()
    keys.create(home)
    for process in PROCESSES:
        for name in (KEY_SETTINGS[setting] for setting in process.keys):
            _write(folder / process.service / name, (home.keys / name).read_bytes())
    secrets = passwords(home, ADMINISTRATOR, *databases.SERVICES)
    for role, password in secrets.items():
        _write(folder / role / PGPASS_FILE, f"*:*:*:{role}:{password}\n".encode())
    _write(folder / ADMINISTRATOR / PASSWORD_FILE, secrets[ADMINISTRATOR].encode())
    print(f"each service has its keys and its password in {folder}")


@app.command("platform")
def platform(
    *,
    whole_server: Annotated[
        bool, typer.Option("--whole-server", help="The database server is ours alone: let roles into nothing else")
    ] = False,
) -> None:
    """Make databases, roles, schemas and topics, and write endpoints.json for the other commands."""
    settings = _outside()
    home = settings.home
    home.make()
    addresses = databases.urls(home, settings.database_url)
    asyncio.run(_set_up(settings, addresses, whole_server=whole_server))
    described = endpoints.describe(settings, addresses, settings.database_url, [], {})
    described["marathon"] = settings.marathon_url
    described["petitions"] = settings.petitions_url
    described["letters"] = settings.letters_url
    described["notifications"] = settings.notifications_url
    endpoints.write(home, described)
    print("databases, schemas and topics are as this version needs them")


def _outside() -> OutsideSettings:
    try:
        return OutsideSettings()
    except ValidationError as error:
        names = sorted({str(found["loc"][0]).upper() for found in error.errors()})
        raise SetupError(f"these settings must say where things are: {', '.join(names)}") from None


async def _set_up(settings: OutsideSettings, addresses: Mapping[str, str], *, whole_server: bool) -> None:
    await _wait_for_database(settings.database_url)
    await databases.create(settings.database_url, addresses, whole_server=whole_server)
    await databases.migrate(settings.database_url, addresses)
    servers = settings.bootstrap_servers
    for difference in await topics.create(servers, flush=settings.flush, production=settings.production):
        print(f"mended: {difference}")


async def _wait_for_database(address: str) -> None:
    """Wait for the database server, a bounded time.

    Raises:
        SetupError: it does not answer, or does not let us in.
    """
    try:
        async for attempt in stamina.retry_context(_NOT_READY_ERRORS, attempts=None, timeout=DATABASE_TIMEOUT_SECONDS):
            with attempt:
                async with connect(address):
                    return
    except (OSError, asyncpg.PostgresError) as error:
        raise SetupError(f"the database server of DATABASE_URL cannot be used: {type(error).__name__}") from error


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, content)

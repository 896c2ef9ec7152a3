"""`mille campaigns`: import campaigns and cases, and list them."""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from deploy.local import endpoints, keys
from deploy.local.endpoints import Endpoints
from deploy.local.settings import LocalSettings
from deploy.mille.asking import Answer, ask, until
from services.marathon.actions.announce import Announcements
from services.marathon.actions.import_campaign import import_campaign
from services.marathon.domain.campaign_changes import Import
from services.marathon.domain.campaign_file import LARGEST_FILE, CampaignFileError
from services.marathon.storage import campaigns
from shared.clock import SystemClock
from shared.errors import SetupError, TransientError
from shared.events.marathon import CampaignChanged, CaseChanged
from shared.privacy.keys import PublicKeyWrapper

WITHIN_S: Final = 60.0
WIDTH: Final = 110
"""No narrower: times would be cut off."""
CONNECT_S: Final = 10.0

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("import")
def import_(file: Annotated[Path, typer.Argument(help="A campaign file, YAML or JSON")]) -> None:
    """Import a campaign file; returns once people can act on it. Importing it again changes nothing."""
    home = LocalSettings().home
    text = _read(file)
    try:
        changes = asyncio.run(_import(endpoints.read(home), home.keys / keys.WRAPPING_PUBLIC, text))
    except CampaignFileError as error:
        for line, path, advice in error.complaints:
            print(f"{file}:{line}: {'.'.join(map(str, path)) or 'the file'} {advice}")
        print(f"Nothing was imported: {error}.")
        raise typer.Exit(1) from None
    campaign = changes.campaign
    if changes.changed:
        listed = ", ".join(f"{case.slug} (version {case.version})" for case in changes.cases) or "no case changed"
        print(f"{campaign.slug} is now at version {campaign.version}: {listed}")
    else:
        print(f"{campaign.slug} is as it was, at version {campaign.version}")


@app.command("list")
def list_() -> None:
    """List the campaigns that were imported."""
    found = asyncio.run(_list(endpoints.read(LocalSettings().home)))
    table = Table("campaign", "version", "opens", "closes", "cases", box=box.SIMPLE)
    for campaign in found:
        table.add_row(campaign.slug, str(campaign.version), campaign.opens, campaign.closes, ", ".join(campaign.cases))
    Console(width=max(WIDTH, Console().width)).print(table)


def _read(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SetupError(f"cannot read {file}: {error.strerror}") from None
    if len(content) > LARGEST_FILE:
        raise SetupError(f"{file} is larger than {LARGEST_FILE // 1024} KiB: is it a campaign file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SetupError(f"{file} is not text in UTF-8") from None


async def _import(at: Endpoints, wrapping_key: Path, text: str) -> Import:
    connection = await connect(at)
    try:
        changes = await import_campaign(
            connection,
            text,
            wrapper=PublicKeyWrapper(wrapping_key),
            announcements=Announcements(),
            now=SystemClock().now(),
        )
        cases = await campaigns.cases_of(connection, changes.campaign.slug)
    finally:
        await connection.close(timeout=CONNECT_S)
    await _wait(at, changes, cases)
    return changes


async def connect(at: Endpoints) -> asyncpg.Connection:
    """A connection to marathon's database.

    Raises:
        OSError, asyncpg.PostgresError: it cannot be reached.
    """
    return await asyncpg.connect(at["databases"]["marathon"], timeout=CONNECT_S)


async def _wait(at: Endpoints, changes: Import, cases: list[CaseChanged]) -> None:
    """Wait until marathon and petitions answer with what was imported.

    Raises:
        TransientError: they did not within a minute; what was imported is stored and will arrive.
    """
    campaign = changes.campaign
    address = f"{at['marathon']}/v1/campaigns/{campaign.slug}"
    if not await until(partial(ask, "GET", address), lambda answer: _has(answer, campaign.version), WITHIN_S):
        raise TransientError(f"imported, but {address} does not answer with it: look at marathon's log")
    for case in cases:
        if case.petition is None:
            continue
        address = f"{at['petitions']}/v1/petitions/{case.petition.slug}"
        arrived = partial(_has_petition, case=case, version=campaign.version)
        if not await until(partial(ask, "GET", address), arrived, WITHIN_S):
            raise TransientError(f"imported, but {address} does not answer with it: look at petitions' log")


def _has(answer: Answer, version: int) -> bool:
    return answer.status == HTTPStatus.OK and int(answer.body["version"]) >= version


def _has_petition(answer: Answer, case: CaseChanged, version: int) -> bool:
    petition = case.petition
    return (
        petition is not None
        and answer.status == HTTPStatus.OK
        and answer.body["campaign"]["version"] >= version
        and (answer.body["version"], answer.body["text"]) == (petition.version, petition.text)
    )


async def _list(at: Endpoints) -> list[CampaignChanged]:
    connection = await connect(at)
    try:
        return await campaigns.all_campaigns(connection)
    finally:
        await connection.close(timeout=CONNECT_S)

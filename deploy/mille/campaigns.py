"""`mille campaigns`: import campaigns and cases, and list them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from deploy.mille.service_client import Response, poll_until, request
from services.marathon.actions.import_campaign import import_campaign
from services.marathon.domain.campaign_changes import ImportPlan
from services.marathon.domain.campaign_file import MAX_FILE_BYTES, CampaignFileError
from services.marathon.storage import campaigns
from shared.clock import SystemClock
from shared.errors import SetupError, TransientError
from shared.events.marathon import CampaignChanged, CaseChanged, Petition
from shared.privacy.keys import PublicKeyWrapper

ARRIVAL_TIMEOUT_S: Final = 60.0
MIN_TABLE_WIDTH: Final = 110
"""In a narrower table, times would be cut off."""
CONNECT_S: Final = 10.0
MAX_LISTED: Final = 50

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("import")
def import_(file: Annotated[Path, typer.Argument(help="A campaign file, YAML or JSON")]) -> None:
    """Import a campaign file; returns once people can act on it. Importing it again changes nothing."""
    home = LocalSettings().home
    text = _read(file)
    try:
        changes = asyncio.run(_import(endpoints.read(home), home.keys / keys.WRAPPING_PUBLIC, text))
    except CampaignFileError as error:
        for line, path, advice in error.faults:
            print(f"{file}:{line}: {'.'.join(map(str, path)) or 'the file'} {advice}")
        print(f"Nothing was imported: {error}.")
        raise typer.Exit(1) from None
    campaign = changes.campaign
    if changes.changed:
        listed = _listed([f"{case.slug} (version {case.version})" for case in changes.cases]) or "no case changed"
        print(f"{campaign.slug} is now at version {campaign.version}: {listed}")
    else:
        print(f"{campaign.slug} is as it was, at version {campaign.version}")


@app.command("list")
def list_() -> None:
    """List the campaigns that were imported."""
    found = asyncio.run(_list(endpoints.read(LocalSettings().home)))
    table = Table("campaign", "version", "opens", "closes", "cases", box=box.SIMPLE)
    for campaign in found:
        table.add_row(campaign.slug, str(campaign.version), campaign.opens, campaign.closes, _listed(campaign.cases))
    Console(width=max(MIN_TABLE_WIDTH, Console().width)).print(table)


def _listed(words: Sequence[str]) -> str:
    rest = len(words) - MAX_LISTED
    return ", ".join(words[:MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _read(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SetupError(f"cannot read {file}: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise SetupError(f"{file} is larger than {MAX_FILE_BYTES // 1024} KiB: is it a campaign file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SetupError(f"{file} is not text in UTF-8") from None


async def _import(at: Endpoints, wrapping_key: Path, text: str) -> ImportPlan:
    connection = await connect(at)
    try:
        wrapper = PublicKeyWrapper(wrapping_key)
        changes = await import_campaign(connection, text, wrapper=wrapper, now=SystemClock().now())
        cases = {case.slug: case for case in await campaigns.cases(connection, changes.campaign.slug)}
    finally:
        await connection.close(timeout=CONNECT_S)
    in_order = changes.cases or tuple(cases[slug] for slug in changes.campaign.cases)
    await _wait(at, changes, in_order)
    return changes


async def connect(at: Endpoints) -> asyncpg.Connection:
    """Connect to marathon's database.

    Raises:
        OSError, asyncpg.PostgresError: it cannot be reached.
    """
    return await asyncpg.connect(at["databases"]["marathon"], timeout=CONNECT_S)


async def _wait(at: Endpoints, changes: ImportPlan, cases: Sequence[CaseChanged]) -> None:
    """Wait until marathon and petitions show what was imported; `cases` are in the order of their events.

    Services read those in order: one that shows the last petition has read all before it.

    Raises:
        TransientError: they did not within a minute; the import is stored and will arrive.
    """
    campaign = changes.campaign
    address = f"{at['marathon']}/v1/campaigns/{campaign.slug}"
    if not await poll_until(
        partial(request, "GET", address),
        lambda response: _shows_campaign(response, campaign.version),
        ARRIVAL_TIMEOUT_S,
    ):
        raise TransientError(f"imported, but {address} does not answer with it: look at marathon's log")
    last = next((case.petition for case in reversed(cases) if case.petition is not None), None)
    if last is None:
        return
    address = f"{at['petitions']}/v1/petitions/{last.slug}"
    shows_petition = partial(_shows_petition, petition=last, version=campaign.version)
    if not await poll_until(partial(request, "GET", address), shows_petition, ARRIVAL_TIMEOUT_S):
        raise TransientError(f"imported, but {address} does not answer with it: look at petitions' log")


def _shows_campaign(response: Response, version: int) -> bool:
    return response.status == HTTPStatus.OK and int(response.body["version"]) >= version


def _shows_petition(response: Response, petition: Petition, version: int) -> bool:
    return (
        response.status == HTTPStatus.OK
        and response.body["campaign"]["version"] >= version
        and (response.body["version"], response.body["text"]) == (petition.version, petition.text)
    )


async def _list(at: Endpoints) -> list[CampaignChanged]:
    connection = await connect(at)
    try:
        return await campaigns.all_campaigns(connection)
    finally:
        await connection.close(timeout=CONNECT_S)

"""`mille campaigns`: import campaigns and cases, and list them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import typer

from deploy.local import keys
from deploy.local.settings import LocalSettings
from deploy.mille.running_platform import read_endpoints, run_on_marathon
from deploy.mille.service_client import Response, request, wait_for
from deploy.mille.tables import print_table, table
from services.marathon.actions.import_campaign import import_campaign
from services.marathon.domain.campaign_changes import ImportPlan
from services.marathon.domain.campaign_file import MAX_FILE_BYTES, CampaignFileError
from services.marathon.storage import campaigns
from shared.clock import SystemClock
from shared.errors import SetupError, TransientError
from shared.events.marathon import CampaignChanged, CaseChanged, Petition
from shared.privacy.keys import PublicKeyWrapper

MAX_LISTED: Final = 50

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("import")
def import_(file: Annotated[Path, typer.Argument(help="A campaign file, YAML or JSON")]) -> None:
    """Import a campaign file; returns once people can act on it. Importing it again changes nothing."""
    text = _read(file)
    try:
        changes, cases = run_on_marathon(partial(_import, text=text))
    except CampaignFileError as error:
        for line, path, advice in error.faults:
            print(f"{file}:{line}: {'.'.join(map(str, path)) or 'the file'} {advice}")
        print(f"Nothing was imported: {error}.")
        raise typer.Exit(1) from None
    campaign = changes.campaign
    _wait(campaign, cases)
    if changes.changed:
        listed = _listed([f"{case.slug} (version {case.version})" for case in changes.cases]) or "no case changed"
        print(f"{campaign.slug} is now at version {campaign.version}: {listed}")
    else:
        print(f"{campaign.slug} is as it was, at version {campaign.version}")


@app.command("list")
def list_() -> None:
    """List the campaigns that were imported."""
    rows = table("campaign", "version", "opens", "closes", "cases")
    for campaign in run_on_marathon(campaigns.all_campaigns):
        rows.add_row(campaign.slug, str(campaign.version), campaign.opens, campaign.closes, _listed(campaign.cases))
    print_table(rows)


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


async def _import(connection: asyncpg.Connection, text: str) -> tuple[ImportPlan, Sequence[CaseChanged]]:
    """Import a file; return also the cases whose events say that all of it has arrived."""
    wrapper = PublicKeyWrapper(LocalSettings().home.keys / keys.WRAPPING_PUBLIC)
    changes = await import_campaign(connection, text, wrapper=wrapper, now=SystemClock().now())
    cases = {case.slug: case for case in await campaigns.cases(connection, changes.campaign.slug)}
    return changes, changes.cases or tuple(cases[slug] for slug in changes.campaign.cases)


def _wait(campaign: CampaignChanged, cases: Sequence[CaseChanged]) -> None:
    """Wait until marathon and petitions show what was imported; `cases` are in the order of their events.

    Services read those in order: one that shows the last petition has read all before it.

    Raises:
        TransientError: they did not within a minute, or something else answers; the import is stored and will arrive.
    """
    at = read_endpoints()
    address = f"{at['marathon']}/v1/campaigns/{campaign.slug}"
    _wait_at(address, partial(_shows_campaign, version=campaign.version), "marathon")
    last = next((case.petition for case in reversed(cases) if case.petition is not None), None)
    if last is None:
        return
    address = f"{at['petitions']}/v1/petitions/{last.slug}"
    _wait_at(address, partial(_shows_petition, petition=last, version=campaign.version), "petitions")


def _wait_at(address: str, shows: Callable[[Response], bool], service: str) -> None:
    try:
        if not wait_for(shows, partial(request, "GET", address)):
            raise TransientError(f"imported, but {address} does not answer with it: look at the log of {service}")
    except (TypeError, LookupError):
        raise TransientError(f"imported, but what answers at {address} is not {service}: what listens there?") from None


def _shows_campaign(response: Response, version: int) -> bool:
    return response.status == HTTPStatus.OK and bool(response.body["version"] >= version)


def _shows_petition(response: Response, petition: Petition, version: int) -> bool:
    return (
        response.status == HTTPStatus.OK
        and response.body["campaign"]["version"] >= version
        and (response.body["version"], response.body["text"]) == (petition.version, petition.text)
    )

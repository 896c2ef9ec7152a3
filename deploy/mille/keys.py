"""`mille keys`: API keys for partners."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Annotated, Final

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from deploy.mille.running_platform import read_endpoints, run_on_marathon
from deploy.mille.service_client import Response, request, wait_for
from services.marathon.actions.keys import create_key, revoke_key
from services.marathon.storage import access, campaigns
from shared.clock import SystemClock
from shared.errors import SetupError, TransientError
from shared.events.marathon import AccessChanged

NO_ITEMS: Final = b'{"items": []}'
MAX_NAMED: Final = 10

app = typer.Typer(add_completion=False, no_args_is_help=True)
Campaign = Annotated[str, typer.Option(help="The campaign's slug")]


@app.command()
def create(
    campaign: Campaign,
    scope: Annotated[list[str], typer.Option(help="What the key may do: signatures:batch")],
    section: Annotated[str | None, typer.Option(help="The section for which its actions count")] = None,
) -> None:
    """Print a new API key once petitions accepts it. It is not kept and cannot be shown again."""
    now = SystemClock().now()
    key = run_on_marathon(lambda connection: create_key(connection, campaign, scopes=scope, section=section, now=now))
    # An empty batch stores nothing. It is refused for the key until that is known, and then for being empty.
    address = f"{read_endpoints()['petitions']}/v1/signatures/batch"
    headers = {"Authorization": f"Bearer {key.text}", "Content-Type": "application/json"}
    if not wait_for(_accepts_key, partial(request, "POST", address, body=NO_ITEMS, headers=headers)):
        raise TransientError(
            f"key {key.access.id} was made, but petitions does not accept it: look at the logs of marathon and "
            "petitions, revoke the key and make another"
        )
    print(key.text)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The key's id, as `mille keys list` shows it")]) -> None:
    """End a key."""
    now = SystemClock().now()
    revoked = run_on_marathon(lambda connection: revoke_key(connection, key_id, now=now))
    print(f"key {revoked.id} of {revoked.campaign} is revoked")


@app.command("list")
def list_(campaign: Campaign) -> None:
    """List the keys of a campaign, by their ids."""
    table = Table("id", "scopes", "section", "state")
    for key in run_on_marathon(partial(_keys, campaign=campaign)):
        table.add_row(key.id, ", ".join(key.scopes), key.section or "", "revoked" if key.revoked else "in use")
    Console().print(table)


async def _keys(connection: asyncpg.Connection, campaign: str) -> list[AccessChanged]:
    """Return the keys of `campaign`.

    Raises:
        SetupError: there is no such campaign.
    """
    stored = [each.slug for each in await campaigns.all_campaigns(connection)]
    if campaign not in stored:
        rest = f" and {len(stored) - MAX_NAMED} more" if len(stored) > MAX_NAMED else ""
        known = f"there is {', '.join(stored[:MAX_NAMED])}{rest}" if stored else "none was imported"
        raise SetupError(f"there is no campaign {campaign}; {known}")
    return await access.keys(connection, campaign)


def _accepts_key(response: Response) -> bool:
    # A server error says nothing about the key.
    return response.status != HTTPStatus.UNAUTHORIZED and response.status < HTTPStatus.INTERNAL_SERVER_ERROR

"""`mille keys`: API keys for partners."""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from deploy.local import endpoints
from deploy.local.endpoints import Endpoints
from deploy.local.settings import LocalSettings
from deploy.mille.campaigns import CONNECT_S, connect
from deploy.mille.service_client import Response, poll_until, request
from services.marathon.actions.keys import NewKey, create_key, revoke_key
from services.marathon.storage import access
from shared.clock import SystemClock
from shared.errors import TransientError
from shared.events.marathon import AccessChanged

ACCEPT_TIMEOUT_S: Final = 60.0
NO_ITEMS: Final = b'{"items": []}'

app = typer.Typer(add_completion=False, no_args_is_help=True)
Campaign = Annotated[str, typer.Option(help="The campaign's slug")]


@app.command()
def create(
    campaign: Campaign,
    scope: Annotated[list[str], typer.Option(help="What the key may do: signatures:batch")],
    section: Annotated[str | None, typer.Option(help="The section for which its actions count")] = None,
) -> None:
    """Print a new API key once petitions accepts it. It is not kept and cannot be shown again."""
    print(asyncio.run(_create(endpoints.read(LocalSettings().home), campaign, scope, section)).text)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The key's id, as `mille keys list` shows it")]) -> None:
    """End a key."""
    revoked = asyncio.run(_revoke(endpoints.read(LocalSettings().home), key_id))
    print(f"key {revoked.id} of {revoked.campaign} is revoked")


@app.command("list")
def list_(campaign: Campaign) -> None:
    """List the keys of a campaign, by their ids."""
    table = Table("id", "scopes", "section", "state")
    for key in asyncio.run(_list(endpoints.read(LocalSettings().home), campaign)):
        table.add_row(key.id, ", ".join(key.scopes), key.section or "", "revoked" if key.revoked else "in use")
    Console().print(table)


async def _create(at: Endpoints, campaign: str, scopes: list[str], section: str | None) -> NewKey:
    connection = await connect(at)
    try:
        key = await create_key(connection, campaign, scopes=scopes, section=section, now=SystemClock().now())
    finally:
        await connection.close(timeout=CONNECT_S)
    # An empty batch stores nothing. It is refused for the key until that is known, and then for being empty.
    address = f"{at['petitions']}/v1/signatures/batch"
    headers = {"Authorization": f"Bearer {key.text}", "Content-Type": "application/json"}
    if not await poll_until(
        partial(request, "POST", address, body=NO_ITEMS, headers=headers), _accepts_key, ACCEPT_TIMEOUT_S
    ):
        raise TransientError(
            f"key {key.access.id} was made, but petitions does not accept it: look at the logs of marathon and "
            "petitions, revoke the key and make another"
        )
    return key


def _accepts_key(response: Response) -> bool:
    # A server error says nothing about the key.
    return response.status != HTTPStatus.UNAUTHORIZED and response.status < HTTPStatus.INTERNAL_SERVER_ERROR


async def _revoke(at: Endpoints, key_id: str) -> AccessChanged:
    connection = await connect(at)
    try:
        return await revoke_key(connection, key_id, now=SystemClock().now())
    finally:
        await connection.close(timeout=CONNECT_S)


async def _list(at: Endpoints, campaign: str) -> list[AccessChanged]:
    connection = await connect(at)
    try:
        return await access.keys(connection, campaign)
    finally:
        await connection.close(timeout=CONNECT_S)

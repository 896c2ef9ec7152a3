"""The repair of a restored database of marathon is complete, however often the command is repeated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg
import msgspec

from deploy.local.endpoints import Endpoints
from deploy.recovery import restored_databases
from deploy.recovery.compacted_topics import MarathonState
from services.marathon.actions.import_campaign import import_campaign
from services.marathon.actions.put_back import freeze_again, put_back
from services.marathon.domain.cells import TotalsUpdate
from services.marathon.domain.document import first_document
from services.marathon.storage import cells
from shared.clock import parse_rfc3339
from tests.support.campaign_files import Wrapper, campaign_file
from tests.support.tallies import LEDGER_KEY

CLOSED = parse_rfc3339("2027-01-08T00:00:00Z")
FROZEN = "SELECT count(*)::int FROM freezes WHERE frozen_at IS NOT NULL"
RECORD = "SELECT reason, change::int FROM corrections ORDER BY reason"


async def test_a_final_tally_is_kept_where_the_recovery_was_cut_off_and_repeated(
    platform: Endpoints, make_database: Callable[[str], Awaitable[str]]
) -> None:
    url = await make_database("marathon")
    at: Endpoints = {**platform, "databases": {"marathon": url}}
    connection = await asyncpg.connect(url)
    try:
        text = campaign_file()
        changes = await import_campaign(connection, text, wrapper=Wrapper(), now=CLOSED)
        first = first_document(changes.campaign, CLOSED)
        final = msgspec.structs.replace(first, version=9, state="frozen")
        # The state of an interrupted command: the document is stored, so nothing is newer.
        await put_back(connection, campaigns_=(), cases=(), keys=(), accesses=(), totals=[final], now=CLOSED)
        assert await connection.fetchval(FROZEN) == 0
        await restored_databases.repair_marathon(at, MarathonState(), "the rest of it", LEDGER_KEY)
        assert await connection.fetchval(FROZEN) == 1
        later = TotalsUpdate()
        later.add_correction("c", int(CLOSED) // 60, "recorded", "withdrawn-after-close", -1, after_freeze=True)
        await cells.add_corrections(connection, later)
        await freeze_again(connection, final)
        assert [tuple(row) for row in await connection.fetch(RECORD)] == [("withdrawn-after-close", -1)]
    finally:
        await connection.close()

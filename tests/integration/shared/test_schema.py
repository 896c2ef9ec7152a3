"""Migrations make exactly the schema that is committed beside them, and a running service may not change it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from deploy.local.databases import SERVICES, in_database
from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT
from shared import migrations
from shared.errors import SetupError
from tests.support.databases import change_schema
from tests.support.schemas import dump

MakeDatabase = Callable[[str], Awaitable[str]]


@pytest.mark.parametrize("service", SERVICES)
async def test_the_migrations_make_the_committed_schema(
    service: str, platform: Endpoints, make_database: MakeDatabase
) -> None:
    name = (await make_database(service)).rpartition("/")[2]
    schema = dump(in_database(platform["administrator"], name))
    file = PROJECT / "services" / service / "schema.sql"
    if os.environ.get("WRITE_SCHEMAS"):
        file.write_text(schema)
    assert file.read_text() == schema, f"write {file.name} anew: WRITE_SCHEMAS=1 make test TESTS={__file__}"


async def test_a_database_that_other_code_has_migrated_is_refused_in_a_sentence(
    platform: Endpoints, make_database: MakeDatabase
) -> None:
    url = await make_database("letters")
    await change_schema(platform, url, "UPDATE schema_version SET version_num = '9999'")
    administrator_url = in_database(platform["administrator"], url.rpartition("/")[2])
    with pytest.raises(SetupError, match=r"letters cannot be migrated by this code: .*9999"):
        await asyncio.to_thread(migrations.upgrade, "letters", administrator_url)


@pytest.mark.parametrize("service", SERVICES)
async def test_the_running_service_may_add_to_the_trail_of_recoveries_and_change_nothing_in_it(
    service: str, make_database: MakeDatabase
) -> None:
    connection = await asyncpg.connect(await make_database(service))
    try:
        await connection.execute(
            "INSERT INTO recoveries (at, what, place, found, done, reason) VALUES (now(), 'a', 'b', 'c', 'd', 'e')"
        )
        for statement in ("UPDATE recoveries SET what = ''", "DELETE FROM recoveries", "DROP TABLE recoveries"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        assert await connection.fetchval("SELECT what FROM recoveries") == "a"
    finally:
        await connection.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_the_running_service_can_read_and_write_every_other_table(
    service: str, make_database: MakeDatabase
) -> None:
    connection = await asyncpg.connect(await make_database(service))
    try:
        lacking = await connection.fetch(
            """
            SELECT relname, privilege
            FROM pg_class, unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS privilege
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT has_table_privilege(oid, privilege)
            """
        )
        append_only = {("recoveries", "UPDATE"), ("recoveries", "DELETE")}
        read_only = {("schema_version", privilege) for privilege in ("INSERT", "UPDATE", "DELETE")}
        assert {(row["relname"], row["privilege"]) for row in lacking} == append_only | read_only
    finally:
        await connection.close()

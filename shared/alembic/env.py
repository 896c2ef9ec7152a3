"""Alembic's environment for every service: one connection, one transaction, no models.

Alembic uses SQLAlchemy, whose asyncpg driver avoids a second PostgreSQL library.
"""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from shared.migrations import VERSION_TABLE, owner_of

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('milleplumes migrations'))"


def _migrate(connection: Connection) -> None:
    service: str = context.config.attributes["service"]
    context.configure(connection=connection, version_table=VERSION_TABLE, transaction_per_migration=False)
    with context.begin_transaction():
        connection.exec_driver_sql(_LOCK)
        connection.exec_driver_sql(f"SET LOCAL ROLE {owner_of(service)}")
        context.run_migrations()


async def _run() -> None:
    url = str(context.config.attributes["url"]).replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = create_async_engine(url, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)
        await connection.commit()
    await engine.dispose()


asyncio.run(_run())

"""Signatures and acts, their sealed data, dead letters, positions, and the outbox."""

from shared.counting.counted_topic import SHARED_SCHEMA, SIGNATORIES_SCHEMA, table_schema
from shared.kafka.outbox import OUTBOX_SCHEMA
from shared.kafka.positions import POSITIONS_SCHEMA
from shared.migrations import execute

revision = "0001"
down_revision = None


def upgrade() -> None:
    execute(OUTBOX_SCHEMA)
    execute(POSITIONS_SCHEMA)
    execute(SHARED_SCHEMA)
    execute(SIGNATORIES_SCHEMA)
    execute(table_schema("signatures"))
    execute(table_schema("acts"))

"""Messages, their sealed data, how many a person sent on a day, dead letters, positions, and the outbox."""

from shared.counting.counted_topic import PERSON_DAYS_SCHEMA, SHARED_SCHEMA, table_schema
from shared.kafka.outbox import OUTBOX_SCHEMA
from shared.kafka.positions import POSITIONS_SCHEMA
from shared.migrations import execute

revision = "0001"
down_revision = None


def upgrade() -> None:
    execute(OUTBOX_SCHEMA)
    execute(POSITIONS_SCHEMA)
    execute(SHARED_SCHEMA)
    execute(PERSON_DAYS_SCHEMA)
    execute(table_schema("messages"))

"""The trail of recoveries by hand."""

from shared.migrations import execute
from shared.recoveries import RECOVERIES_SCHEMA

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    execute(RECOVERIES_SCHEMA)

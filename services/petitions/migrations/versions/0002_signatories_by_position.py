"""The names under a petition are read page by page behind the position of the last one."""

from shared.migrations import execute_beside

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    execute_beside(__file__)

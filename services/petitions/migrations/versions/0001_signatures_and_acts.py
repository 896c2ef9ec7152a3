"""Signatures and acts, their sealed data, dead letters, positions, and the outbox."""

from shared.migrations import execute_beside

revision = "0001"
down_revision = None


def upgrade() -> None:
    execute_beside(__file__)

"""Which network an act came from, by its keyed hash, so that none gets ahead of the others."""

from __future__ import annotations

from shared.migrations import execute

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute("ALTER TABLE deliveries ADD COLUMN network text")

"""When a delivery was left without a mail, from when on it stands in no other's way."""

from __future__ import annotations

from shared.migrations import execute

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute("ALTER TABLE deliveries ADD COLUMN left_at timestamptz")

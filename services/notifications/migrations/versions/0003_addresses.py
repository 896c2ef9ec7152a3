"""Addresses as they are written to, apart from the mailboxes that they are taken for."""

from __future__ import annotations

from shared.migrations import execute

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# address is the keyed hash of the address as it was typed, with its domain in A-labels; NULL in older rows. What is
# known of an older bounce is only whose mailbox it was thought to be: a mailbox that is gone is found out anew.
SCHEMA = """
ALTER TABLE deliveries ADD COLUMN address bytea;
ALTER TABLE mails ADD COLUMN address bytea;
CREATE TABLE gone_addresses (
    address bytea PRIMARY KEY,
    recipient bytea NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX gone_addresses_recipient ON gone_addresses (recipient);
DELETE FROM suppressions WHERE reason = 'mailbox-gone';
"""


def upgrade() -> None:
    execute(SCHEMA)

"""Deliveries, the mails that cover them, and who gets none.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from shared.kafka.outbox import OUTBOX_SCHEMA
from shared.kafka.positions import POSITIONS_SCHEMA
from shared.migrations import execute

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = """
-- One for each submission that asks for a mail. What the person typed stays sealed, and only while a mail may need it.
-- mails is how many mails cover it that were sent or may still be.
CREATE TABLE deliveries (
    template text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    recipient bytea NOT NULL,
    campaign text NOT NULL,
    "case" text NOT NULL,
    subject text NOT NULL,
    kind text NOT NULL,
    key bytea NOT NULL,
    digest bytea NOT NULL,
    other_data boolean NOT NULL,
    accepted_at timestamptz NOT NULL,
    locale text NOT NULL,
    sealed bytea,
    seal_key integer NOT NULL,
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'mailed', 'confirmed', 'withdrawn', 'expired', 'suppressed', 'bounced', 'failed')),
    mails smallint NOT NULL DEFAULT 0,
    withdrawn_offset bigint,
    PRIMARY KEY (template, topic, partition, "offset")
);
CREATE INDEX deliveries_act ON deliveries (key, digest);
CREATE INDEX deliveries_waiting ON deliveries (recipient) WHERE state IN ('pending', 'mailed');
CREATE INDEX deliveries_pending ON deliveries (accepted_at) WHERE state = 'pending';
CREATE INDEX deliveries_kept ON deliveries USING brin (accepted_at);

-- One for each address, by its keyed hash. due_at is when to plan its next mail; mailed_at holds the last mails' times.
CREATE TABLE recipients (
    recipient bytea PRIMARY KEY,
    due_at timestamptz,
    mailed_at timestamptz[] NOT NULL DEFAULT '{}'
);
CREATE INDEX recipients_due ON recipients (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE mailed_campaigns (
    recipient bytea NOT NULL,
    campaign text NOT NULL,
    mailed_at timestamptz NOT NULL,
    PRIMARY KEY (recipient, campaign)
);

-- id names the mail for ever: the Message-ID is made of it. due_at is when to try next, and the end of a sender's
-- lease.
CREATE TABLE mails (
    id bytea PRIMARY KEY,
    template text NOT NULL,
    recipient bytea NOT NULL,
    planned_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'sent', 'bounced', 'failed', 'dropped')),
    due_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    answer integer,
    ended_at timestamptz,
    CHECK ((state = 'open') = (due_at IS NOT NULL))
);
CREATE INDEX mails_due ON mails (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX mails_ended ON mails (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE mail_deliveries (
    mail bytea NOT NULL REFERENCES mails ON DELETE CASCADE,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    PRIMARY KEY (mail, topic, partition, "offset")
);

CREATE TABLE suppressions (
    recipient bytea PRIMARY KEY,
    reason text NOT NULL CHECK (reason IN ('unsubscribed', 'mailbox-gone')),
    at timestamptz NOT NULL
);
"""


def upgrade() -> None:
    execute(OUTBOX_SCHEMA)
    execute(POSITIONS_SCHEMA)
    execute(SCHEMA)

-- Deliveries, the mails that cover them, who wants more and who gets none, positions, and the outbox.

-- Rows that leave for Kafka once their transaction is committed; `headers` is MessagePack of a list of [name, value].
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    key bytea,
    headers bytea NOT NULL,
    value bytea,
    put_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- How far a consumer group has turned each partition into rows. `next` is the offset of the next record, `digest`
-- identifies the record at `next - 1`. `epoch` rises when the database was restored. `attempts` counts the processes
-- that began with the records that follow and have reported neither an end nor an error: one may be at it, the others
-- died. Records before `suspects_end` are taken one by one, because several processes died that may have had them in
-- hand; `attempts` then counts those that began with the one record at `next`.
CREATE TABLE positions (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next bigint NOT NULL DEFAULT 0 CHECK (next >= 0),
    digest bytea,
    epoch integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    suspects_end bigint NOT NULL DEFAULT 0,
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 40);

-- One for each event that makes a mail of a mailing, by its record; deleted 40 days later. What the person typed stays
-- sealed, and only while a mail may need it, eight days at most once one was planned. `mails` is how many mails cover
-- it that may still bring what it waits for. `address` is the keyed hash of the address as it was typed, `network` that
-- of the network it came from. `left_at` is when it was left without a mail.
CREATE TABLE deliveries (
    mailing text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    recipient bytea NOT NULL,
    address bytea NOT NULL,
    network text,
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
        CHECK (state IN (
            'pending', 'mailed', 'sent', 'confirmed', 'withdrawn', 'expired', 'suppressed', 'bounced', 'failed'
        )),
    mails smallint NOT NULL DEFAULT 0,
    withdrawn_offset bigint,
    left_at timestamptz,
    PRIMARY KEY (mailing, topic, partition, "offset")
);
CREATE INDEX deliveries_act ON deliveries (key, digest);
CREATE INDEX deliveries_waiting ON deliveries (recipient) WHERE state IN ('pending', 'mailed');
CREATE INDEX deliveries_pending ON deliveries (accepted_at) WHERE state = 'pending';
CREATE INDEX deliveries_kept ON deliveries USING brin (accepted_at);

-- The consents to a campaign's updates: one for each version of an act whose submission asked for them. A recipient
-- gets a campaign's updates as long as one of theirs stands, from `since` on, when the link about that submission was
-- pressed. It ends with the act, with unsubscribing, with a mailbox that is gone, or with the campaign; the sealed
-- address is erased then, and the row, without which a replay would give it again, 40 days later.
CREATE TABLE subscriptions (
    key bytea NOT NULL,
    digest bytea NOT NULL,
    address bytea NOT NULL,
    recipient bytea NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    campaign text NOT NULL,
    "case" text NOT NULL,
    subject text NOT NULL,
    kind text NOT NULL,
    accepted_at timestamptz NOT NULL,
    locale text NOT NULL,
    sealed bytea,
    seal_key integer NOT NULL,
    since timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (key, digest, address),
    CHECK ((sealed IS NULL) = (ended_at IS NOT NULL))
);
CREATE INDEX subscriptions_recipient ON subscriptions (recipient) WHERE ended_at IS NULL;
CREATE INDEX subscriptions_campaign ON subscriptions (campaign) WHERE ended_at IS NULL;
CREATE INDEX subscriptions_ended ON subscriptions (ended_at) WHERE ended_at IS NOT NULL;

-- One for each address, by its keyed hash, and each daily limit. due_at is when to plan the next mail of the mailings
-- under that limit; mailed_at holds the times of the last ones. Deleted 40 days after the last.
CREATE TABLE recipients (
    recipient bytea NOT NULL,
    daily_limit text NOT NULL,
    due_at timestamptz,
    mailed_at timestamptz[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (recipient, daily_limit)
);
CREATE INDEX recipients_due ON recipients (due_at) WHERE due_at IS NOT NULL;

-- When a mail about a campaign last went to an address. Deleted 40 days later.
CREATE TABLE mailed_campaigns (
    recipient bytea NOT NULL,
    mailing text NOT NULL,
    campaign text NOT NULL,
    mailed_at timestamptz NOT NULL,
    PRIMARY KEY (recipient, mailing, campaign)
);

-- id names the mail for ever: the Message-ID is made of it. due_at is when to try next, and the end of a sender's
-- lease; attempts counts tries. Deleted 40 days after its end, with what it covers.
CREATE TABLE mails (
    id bytea PRIMARY KEY,
    mailing text NOT NULL,
    recipient bytea NOT NULL,
    address bytea NOT NULL,
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

-- Who wants no mail. Kept until they take mail again.
CREATE TABLE suppressions (
    recipient bytea PRIMARY KEY,
    reason text NOT NULL CHECK (reason IN ('unsubscribed', 'mailbox-gone')),
    at timestamptz NOT NULL
);

-- Addresses as they are written to that have no mailbox, with the mailbox that they are taken for. Kept until the
-- person takes mail again, because it would bounce again.
CREATE TABLE gone_addresses (
    address bytea PRIMARY KEY,
    recipient bytea NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX gone_addresses_recipient ON gone_addresses (recipient);

-- What people did by hand to this service's truth. Rows are only ever added.
CREATE TABLE recoveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    what text NOT NULL,
    place text NOT NULL,
    found text NOT NULL,
    done text NOT NULL,
    reason text NOT NULL
);

-- The running service reads and writes everything but what is append-only, and changes no schema.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO notifications;
REVOKE UPDATE, DELETE ON recoveries FROM notifications;
REVOKE INSERT, UPDATE, DELETE ON schema_version FROM notifications;

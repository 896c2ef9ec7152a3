-- Campaigns, keys, access, the ledger of tally batches, the totals, positions, and the outbox.

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

-- How far each consumer group has turned each partition into rows. `next` is the offset of the next record, `digest`
-- names the record at `next - 1`. `epoch` rises when the database was restored. `attempts` counts the processes that
-- died since `next` last moved.
CREATE TABLE positions (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next bigint NOT NULL DEFAULT 0 CHECK (next >= 0),
    digest bytea,
    epoch integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 40);

CREATE TABLE campaigns (
    slug text PRIMARY KEY,
    version integer NOT NULL,
    document jsonb NOT NULL
);

CREATE TABLE cases (
    slug text PRIMARY KEY,
    campaign text NOT NULL REFERENCES campaigns (slug),
    petition text UNIQUE,
    version integer NOT NULL,
    document jsonb NOT NULL
);
CREATE INDEX cases_of_campaign ON cases (campaign);

-- Wrapped: nobody who has only this database can open them.
CREATE TABLE campaign_keys (
    campaign text NOT NULL REFERENCES campaigns (slug),
    purpose text NOT NULL CHECK (purpose IN ('dedupe', 'seal', 'token')),
    version integer NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (campaign, purpose, version)
);

-- Partners' API keys, hashed.
CREATE TABLE access (
    id text PRIMARY KEY,
    hash text NOT NULL UNIQUE,
    campaign text NOT NULL REFERENCES campaigns (slug),
    scopes text[] NOT NULL,
    section text,
    revoked boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL
);

-- The head of each source partition's chain. `topic` is where its tally batches arrive; the offline tallies of
-- marathon itself have none. `halted_at` is the offset on `topic` of the part that halted it.
CREATE TABLE sources (
    source text NOT NULL,
    partition integer NOT NULL,
    topic text,
    epoch integer NOT NULL,
    next bigint NOT NULL,
    hash bytea NOT NULL,
    accepted_until text,
    read bigint NOT NULL,
    halted text,
    halted_at bigint,
    PRIMARY KEY (source, partition)
) WITH (fillfactor = 50);

-- One row for each tally batch; `digests` are the SHA-256 of its `values`, the very bytes received, part by part.
-- `salt` is a secret of the row: without it nobody can guess what its hash stands for.
CREATE TABLE ledger (
    source text NOT NULL,
    partition integer NOT NULL,
    epoch integer NOT NULL,
    first bigint NOT NULL,
    next bigint NOT NULL,
    change bigint NOT NULL,
    accepted_until text NOT NULL,
    digests bytea[] NOT NULL,
    "values" bytea[] NOT NULL,
    salt bytea NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (source, partition, first)
);

-- Parts of a tally batch that is not complete yet.
CREATE TABLE waiting_parts (
    source text NOT NULL,
    partition integer NOT NULL,
    part integer NOT NULL,
    read bigint NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (source, partition, part)
);

-- `held` counts actions that wait for a decision and are not counted yet.
CREATE TABLE cells (
    campaign text NOT NULL,
    "case" text NOT NULL,
    section text,
    kind text NOT NULL,
    channel text NOT NULL,
    country text NOT NULL,
    language text NOT NULL,
    evidence text NOT NULL,
    count bigint NOT NULL,
    withdrawn bigint NOT NULL,
    held bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (campaign, "case", section, kind, channel, country, language, evidence)
) WITH (fillfactor = 50);

-- What each day changed, by all dimensions; `day` counts whole days of acceptance since 1970 (UTC).
CREATE TABLE days (
    campaign text NOT NULL,
    day integer NOT NULL,
    "case" text NOT NULL,
    section text,
    kind text NOT NULL,
    channel text NOT NULL,
    country text NOT NULL,
    language text NOT NULL,
    evidence text NOT NULL,
    change bigint NOT NULL,
    withdrawn bigint NOT NULL,
    held bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (campaign, day, "case", section, kind, channel, country, language, evidence)
) WITH (fillfactor = 70);

-- `minute` counts whole minutes of acceptance since 1970.
CREATE TABLE minutes (
    campaign text NOT NULL,
    minute integer NOT NULL,
    "case" text NOT NULL,
    evidence text NOT NULL,
    change bigint NOT NULL,
    PRIMARY KEY (campaign, minute, "case", evidence)
) WITH (fillfactor = 70);

-- The public record of what people's own acts do not explain, a row for each day (whole days since 1970) and
-- reason.
CREATE TABLE corrections (
    campaign text NOT NULL,
    day integer NOT NULL,
    reason text NOT NULL,
    evidence text NOT NULL,
    after_freeze boolean NOT NULL,
    change bigint NOT NULL,
    minute integer NOT NULL,
    PRIMARY KEY (campaign, day, reason, evidence, after_freeze)
);

-- Rises with every change of a campaign's cells or corrections.
CREATE TABLE marks (
    campaign text PRIMARY KEY,
    mark bigint NOT NULL
) WITH (fillfactor = 50);

-- The totals document as last put in the outbox. `memory` is what was last shown of each guarded map.
CREATE TABLE published (
    campaign text PRIMARY KEY REFERENCES campaigns (slug),
    version integer NOT NULL,
    document jsonb NOT NULL,
    memory jsonb NOT NULL,
    at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- A closed campaign: the end of every source partition as read once, and when the ledger had reached them.
CREATE TABLE freezes (
    campaign text PRIMARY KEY REFERENCES campaigns (slug),
    ends jsonb NOT NULL,
    read_at timestamptz NOT NULL,
    frozen_at timestamptz
);

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
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO marathon;
REVOKE UPDATE, DELETE ON recoveries FROM marathon;
REVOKE INSERT, UPDATE, DELETE ON schema_version FROM marathon;

-- Messages, their sealed data, how many a person sent on a day, dead letters, positions, and the outbox.

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

-- The combinations of dimensions that occur; rows hold their id.
CREATE TABLE dimensions (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign text NOT NULL,
    "case" text NOT NULL,
    subject text NOT NULL,
    section text,
    kind text NOT NULL,
    channel text NOT NULL,
    country text NOT NULL,
    language text NOT NULL,
    UNIQUE NULLS NOT DISTINCT (campaign, "case", subject, section, kind, channel, country, language)
);

-- The sealed data of the first submission of each key, and of `further` ones with other data. The table grows in the
-- order of the log; erasing a person deletes here.
CREATE TABLE submissions (
    "offset" bigint NOT NULL,
    accepted_ms bigint NOT NULL,
    partition smallint NOT NULL,
    dimensions integer NOT NULL,
    seal_key smallint NOT NULL,
    version smallint NOT NULL,
    public_name boolean NOT NULL,
    updates boolean NOT NULL,
    further boolean NOT NULL,
    topic text COLLATE "C" NOT NULL,
    key bytea NOT NULL,
    digest bytea NOT NULL,
    locale text NOT NULL,
    network text NOT NULL,
    domain text NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);
CREATE UNIQUE INDEX submissions_further ON submissions (key, digest) WHERE further;

-- Records that could not be counted: whether a redrive of theirs was applied, and whether their key was submitted again
-- since.
CREATE TABLE dead_letters (
    topic text NOT NULL,
    partition smallint NOT NULL,
    "offset" bigint NOT NULL,
    key bytea NOT NULL,
    reason text NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now(),
    applied boolean NOT NULL DEFAULT false,
    superseded boolean NOT NULL DEFAULT false,
    PRIMARY KEY (topic, partition, "offset")
);
CREATE INDEX dead_letters_of_a_key ON dead_letters (key);

-- The number of the last decision (invalidated, reinstated, released) that was applied to a key. It stands beside the
-- rows, which stay narrow: few keys are ever decided about.
CREATE TABLE applied_decisions (
    topic text NOT NULL,
    key bytea NOT NULL,
    decision bigint NOT NULL,
    PRIMARY KEY (topic, key)
);

-- Letters, postcards, drawings and solidarity messages: a row for each dedupe key.
-- The columns are the fields of `Row` in shared/counting/transitions.py. `dimensions` refers to the table of that name
-- without a constraint: it would be checked for each of millions of rows, and only the counter writes here.
CREATE TABLE messages (
    first_offset bigint NOT NULL,
    applied_offset bigint NOT NULL,
    opened bigint NOT NULL,
    digest bigint NOT NULL,
    dimensions integer NOT NULL,
    minute integer NOT NULL,
    partition smallint NOT NULL,
    state "char" NOT NULL,
    invalidated boolean NOT NULL,
    key bytea PRIMARY KEY
) WITH (fillfactor = 90, autovacuum_vacuum_insert_scale_factor = 0.5);

-- How many messages a person (key) has begun on a day (whole days since 1970, UTC, by the broker's clock).
CREATE TABLE person_days (
    person bytea NOT NULL,
    day integer NOT NULL,
    opened integer NOT NULL,
    PRIMARY KEY (person, day)
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
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO letters;
REVOKE UPDATE, DELETE ON recoveries FROM letters;
REVOKE INSERT, UPDATE, DELETE ON schema_version FROM letters;

CREATE TABLE public.acts (
    first_offset bigint NOT NULL,
    applied_offset bigint NOT NULL,
    opened bigint NOT NULL,
    digest bigint NOT NULL,
    dimensions integer NOT NULL,
    minute integer NOT NULL,
    partition smallint NOT NULL,
    state "char" NOT NULL,
    invalidated boolean NOT NULL,
    key bytea NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_insert_scale_factor='0.5');

CREATE TABLE public.applied_decisions (
    topic text NOT NULL,
    key bytea NOT NULL,
    decision bigint NOT NULL
);

CREATE TABLE public.dead_letters (
    topic text NOT NULL,
    partition smallint NOT NULL,
    "offset" bigint NOT NULL,
    key bytea NOT NULL,
    reason text NOT NULL,
    refused_at timestamp with time zone DEFAULT now() NOT NULL,
    applied boolean DEFAULT false NOT NULL,
    superseded boolean DEFAULT false NOT NULL
);

CREATE TABLE public.dimensions (
    id integer NOT NULL,
    campaign text NOT NULL,
    "case" text NOT NULL,
    subject text NOT NULL,
    section text,
    kind text NOT NULL,
    channel text NOT NULL,
    country text NOT NULL,
    language text NOT NULL
);

ALTER TABLE public.dimensions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.dimensions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.outbox (
    id bigint NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    key bytea,
    headers bytea NOT NULL,
    value bytea,
    put_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000');

ALTER TABLE public.outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.positions (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next bigint DEFAULT 0 NOT NULL,
    digest bytea,
    epoch integer DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    suspects_end bigint DEFAULT 0 NOT NULL,
    moved_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT positions_next_check CHECK ((next >= 0))
)
WITH (fillfactor='40');

CREATE TABLE public.recoveries (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    what text NOT NULL,
    place text NOT NULL,
    found text NOT NULL,
    done text NOT NULL,
    reason text NOT NULL
);

ALTER TABLE public.recoveries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.recoveries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.schema_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.signatories (
    key bytea NOT NULL,
    subject text NOT NULL,
    topic text NOT NULL,
    partition smallint NOT NULL,
    "offset" bigint NOT NULL,
    accepted_ms bigint NOT NULL
);

CREATE TABLE public.signatures (
    first_offset bigint NOT NULL,
    applied_offset bigint NOT NULL,
    opened bigint NOT NULL,
    digest bigint NOT NULL,
    dimensions integer NOT NULL,
    minute integer NOT NULL,
    partition smallint NOT NULL,
    state "char" NOT NULL,
    invalidated boolean NOT NULL,
    key bytea NOT NULL
)
WITH (fillfactor='90', autovacuum_vacuum_insert_scale_factor='0.5');

CREATE TABLE public.submissions (
    "offset" bigint NOT NULL,
    accepted_ms bigint NOT NULL,
    partition smallint NOT NULL,
    dimensions integer NOT NULL,
    seal_key smallint NOT NULL,
    version smallint NOT NULL,
    public_name boolean NOT NULL,
    updates boolean NOT NULL,
    further boolean NOT NULL,
    topic text NOT NULL COLLATE pg_catalog."C",
    key bytea NOT NULL,
    digest bytea NOT NULL,
    locale text NOT NULL,
    network text NOT NULL,
    domain text NOT NULL,
    sealed bytea NOT NULL
);

ALTER TABLE ONLY public.acts
    ADD CONSTRAINT acts_pkey PRIMARY KEY (key);

ALTER TABLE ONLY public.applied_decisions
    ADD CONSTRAINT applied_decisions_pkey PRIMARY KEY (topic, key);

ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (topic, partition, "offset");

ALTER TABLE ONLY public.dimensions
    ADD CONSTRAINT dimensions_campaign_case_subject_section_kind_channel_count_key UNIQUE NULLS NOT DISTINCT (campaign, "case", subject, section, kind, channel, country, language);

ALTER TABLE ONLY public.dimensions
    ADD CONSTRAINT dimensions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.positions
    ADD CONSTRAINT positions_pkey PRIMARY KEY (consumer_group, topic, partition);

ALTER TABLE ONLY public.recoveries
    ADD CONSTRAINT recoveries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.schema_version
    ADD CONSTRAINT schema_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.signatories
    ADD CONSTRAINT signatories_pkey PRIMARY KEY (key);

ALTER TABLE ONLY public.signatures
    ADD CONSTRAINT signatures_pkey PRIMARY KEY (key);

ALTER TABLE ONLY public.submissions
    ADD CONSTRAINT submissions_pkey PRIMARY KEY (topic, partition, "offset");

CREATE INDEX dead_letters_of_a_key ON public.dead_letters USING btree (key);

CREATE INDEX signatories_in_order ON public.signatories USING btree (subject, accepted_ms, partition, "offset");

CREATE UNIQUE INDEX submissions_further ON public.submissions USING btree (key, digest) WHERE further;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.acts TO petitions;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.applied_decisions TO petitions;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.dead_letters TO petitions;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.dimensions TO petitions;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO petitions;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.positions TO petitions;

GRANT SELECT,INSERT ON TABLE public.recoveries TO petitions;

GRANT SELECT ON TABLE public.schema_version TO petitions;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.signatories TO petitions;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.signatures TO petitions;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.submissions TO petitions;

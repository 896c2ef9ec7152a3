CREATE TABLE public.access (
    id text NOT NULL,
    hash text NOT NULL,
    campaign text NOT NULL,
    scopes text[] NOT NULL,
    section text,
    revoked boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone NOT NULL
);

CREATE TABLE public.campaign_keys (
    campaign text NOT NULL,
    purpose text NOT NULL,
    version integer NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT campaign_keys_purpose_check CHECK ((purpose = ANY (ARRAY['dedupe'::text, 'seal'::text, 'token'::text])))
);

CREATE TABLE public.campaigns (
    slug text NOT NULL,
    version integer NOT NULL,
    document jsonb NOT NULL
);

CREATE TABLE public.cases (
    slug text NOT NULL,
    campaign text NOT NULL,
    petition text,
    version integer NOT NULL,
    document jsonb NOT NULL
);

CREATE TABLE public.cells (
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
    held bigint NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.corrections (
    campaign text NOT NULL,
    day integer NOT NULL,
    reason text NOT NULL,
    evidence text NOT NULL,
    after_freeze boolean NOT NULL,
    change bigint NOT NULL,
    minute integer NOT NULL
);

CREATE TABLE public.days (
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
    held bigint NOT NULL
)
WITH (fillfactor='70');

CREATE TABLE public.freezes (
    campaign text NOT NULL,
    ends jsonb NOT NULL,
    read_at timestamp with time zone NOT NULL,
    frozen_at timestamp with time zone
);

CREATE TABLE public.ledger (
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
    hash bytea NOT NULL
);

CREATE TABLE public.marks (
    campaign text NOT NULL,
    mark bigint NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.minutes (
    campaign text NOT NULL,
    minute integer NOT NULL,
    "case" text NOT NULL,
    evidence text NOT NULL,
    change bigint NOT NULL
)
WITH (fillfactor='70');

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
    moved_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT positions_next_check CHECK ((next >= 0))
)
WITH (fillfactor='40');

CREATE TABLE public.published (
    campaign text NOT NULL,
    version integer NOT NULL,
    document jsonb NOT NULL,
    memory jsonb NOT NULL,
    at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

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

CREATE TABLE public.sources (
    source text NOT NULL,
    partition integer NOT NULL,
    topic text,
    epoch integer NOT NULL,
    next bigint NOT NULL,
    hash bytea NOT NULL,
    accepted_until text,
    read bigint NOT NULL,
    halted text,
    halted_at bigint
)
WITH (fillfactor='50');

CREATE TABLE public.waiting_parts (
    source text NOT NULL,
    partition integer NOT NULL,
    part integer NOT NULL,
    read bigint NOT NULL,
    value bytea NOT NULL
);

ALTER TABLE ONLY public.access
    ADD CONSTRAINT access_hash_key UNIQUE (hash);

ALTER TABLE ONLY public.access
    ADD CONSTRAINT access_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.campaign_keys
    ADD CONSTRAINT campaign_keys_pkey PRIMARY KEY (campaign, purpose, version);

ALTER TABLE ONLY public.campaigns
    ADD CONSTRAINT campaigns_pkey PRIMARY KEY (slug);

ALTER TABLE ONLY public.cases
    ADD CONSTRAINT cases_petition_key UNIQUE (petition);

ALTER TABLE ONLY public.cases
    ADD CONSTRAINT cases_pkey PRIMARY KEY (slug);

ALTER TABLE ONLY public.cells
    ADD CONSTRAINT cells_campaign_case_section_kind_channel_country_language_e_key UNIQUE NULLS NOT DISTINCT (campaign, "case", section, kind, channel, country, language, evidence);

ALTER TABLE ONLY public.corrections
    ADD CONSTRAINT corrections_pkey PRIMARY KEY (campaign, day, reason, evidence, after_freeze);

ALTER TABLE ONLY public.days
    ADD CONSTRAINT days_campaign_day_case_section_kind_channel_country_languag_key UNIQUE NULLS NOT DISTINCT (campaign, day, "case", section, kind, channel, country, language, evidence);

ALTER TABLE ONLY public.freezes
    ADD CONSTRAINT freezes_pkey PRIMARY KEY (campaign);

ALTER TABLE ONLY public.ledger
    ADD CONSTRAINT ledger_pkey PRIMARY KEY (source, partition, first);

ALTER TABLE ONLY public.marks
    ADD CONSTRAINT marks_pkey PRIMARY KEY (campaign);

ALTER TABLE ONLY public.minutes
    ADD CONSTRAINT minutes_pkey PRIMARY KEY (campaign, minute, "case", evidence);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.positions
    ADD CONSTRAINT positions_pkey PRIMARY KEY (consumer_group, topic, partition);

ALTER TABLE ONLY public.published
    ADD CONSTRAINT published_pkey PRIMARY KEY (campaign);

ALTER TABLE ONLY public.recoveries
    ADD CONSTRAINT recoveries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.schema_version
    ADD CONSTRAINT schema_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.sources
    ADD CONSTRAINT sources_pkey PRIMARY KEY (source, partition);

ALTER TABLE ONLY public.waiting_parts
    ADD CONSTRAINT waiting_parts_pkey PRIMARY KEY (source, partition, part);

CREATE INDEX cases_of_campaign ON public.cases USING btree (campaign);

ALTER TABLE ONLY public.access
    ADD CONSTRAINT access_campaign_fkey FOREIGN KEY (campaign) REFERENCES public.campaigns(slug);

ALTER TABLE ONLY public.campaign_keys
    ADD CONSTRAINT campaign_keys_campaign_fkey FOREIGN KEY (campaign) REFERENCES public.campaigns(slug);

ALTER TABLE ONLY public.cases
    ADD CONSTRAINT cases_campaign_fkey FOREIGN KEY (campaign) REFERENCES public.campaigns(slug);

ALTER TABLE ONLY public.freezes
    ADD CONSTRAINT freezes_campaign_fkey FOREIGN KEY (campaign) REFERENCES public.campaigns(slug);

ALTER TABLE ONLY public.published
    ADD CONSTRAINT published_campaign_fkey FOREIGN KEY (campaign) REFERENCES public.campaigns(slug);

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.access TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.campaign_keys TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.campaigns TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.cases TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.cells TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.corrections TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.days TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.freezes TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.ledger TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.marks TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.minutes TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.positions TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.published TO marathon;

GRANT SELECT,INSERT ON TABLE public.recoveries TO marathon;

GRANT SELECT ON TABLE public.schema_version TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sources TO marathon;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.waiting_parts TO marathon;

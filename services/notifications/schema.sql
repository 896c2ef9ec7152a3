CREATE TABLE public.deliveries (
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
    accepted_at timestamp with time zone NOT NULL,
    locale text NOT NULL,
    sealed bytea,
    seal_key integer NOT NULL,
    state text DEFAULT 'pending'::text NOT NULL,
    mails smallint DEFAULT 0 NOT NULL,
    withdrawn_offset bigint,
    left_at timestamp with time zone,
    CONSTRAINT deliveries_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'mailed'::text, 'sent'::text, 'confirmed'::text, 'withdrawn'::text, 'expired'::text, 'suppressed'::text, 'bounced'::text, 'failed'::text])))
);

CREATE TABLE public.gone_addresses (
    address bytea NOT NULL,
    recipient bytea NOT NULL,
    at timestamp with time zone NOT NULL
);

CREATE TABLE public.mail_deliveries (
    mail bytea NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL
);

CREATE TABLE public.mailed_campaigns (
    recipient bytea NOT NULL,
    mailing text NOT NULL,
    campaign text NOT NULL,
    mailed_at timestamp with time zone NOT NULL
);

CREATE TABLE public.mails (
    id bytea NOT NULL,
    mailing text NOT NULL,
    recipient bytea NOT NULL,
    address bytea NOT NULL,
    planned_at timestamp with time zone NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    due_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    answer integer,
    ended_at timestamp with time zone,
    CONSTRAINT mails_check CHECK (((state = 'open'::text) = (due_at IS NOT NULL))),
    CONSTRAINT mails_state_check CHECK ((state = ANY (ARRAY['open'::text, 'sent'::text, 'bounced'::text, 'failed'::text, 'dropped'::text])))
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

CREATE TABLE public.recipients (
    recipient bytea NOT NULL,
    daily_limit text NOT NULL,
    due_at timestamp with time zone,
    mailed_at timestamp with time zone[] DEFAULT '{}'::timestamp with time zone[] NOT NULL
);

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

CREATE TABLE public.subscriptions (
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
    accepted_at timestamp with time zone NOT NULL,
    locale text NOT NULL,
    sealed bytea,
    seal_key integer NOT NULL,
    since timestamp with time zone,
    ended_at timestamp with time zone,
    CONSTRAINT subscriptions_check CHECK (((sealed IS NULL) = (ended_at IS NOT NULL)))
);

CREATE TABLE public.suppressions (
    recipient bytea NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT suppressions_reason_check CHECK ((reason = ANY (ARRAY['unsubscribed'::text, 'mailbox-gone'::text])))
);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (mailing, topic, partition, "offset");

ALTER TABLE ONLY public.gone_addresses
    ADD CONSTRAINT gone_addresses_pkey PRIMARY KEY (address);

ALTER TABLE ONLY public.mail_deliveries
    ADD CONSTRAINT mail_deliveries_pkey PRIMARY KEY (mail, topic, partition, "offset");

ALTER TABLE ONLY public.mailed_campaigns
    ADD CONSTRAINT mailed_campaigns_pkey PRIMARY KEY (recipient, mailing, campaign);

ALTER TABLE ONLY public.mails
    ADD CONSTRAINT mails_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.positions
    ADD CONSTRAINT positions_pkey PRIMARY KEY (consumer_group, topic, partition);

ALTER TABLE ONLY public.recipients
    ADD CONSTRAINT recipients_pkey PRIMARY KEY (recipient, daily_limit);

ALTER TABLE ONLY public.recoveries
    ADD CONSTRAINT recoveries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.schema_version
    ADD CONSTRAINT schema_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (key, digest, address);

ALTER TABLE ONLY public.suppressions
    ADD CONSTRAINT suppressions_pkey PRIMARY KEY (recipient);

CREATE INDEX deliveries_act ON public.deliveries USING btree (key, digest);

CREATE INDEX deliveries_kept ON public.deliveries USING brin (accepted_at);

CREATE INDEX deliveries_pending ON public.deliveries USING btree (accepted_at) WHERE (state = 'pending'::text);

CREATE INDEX deliveries_waiting ON public.deliveries USING btree (recipient) WHERE (state = ANY (ARRAY['pending'::text, 'mailed'::text]));

CREATE INDEX gone_addresses_recipient ON public.gone_addresses USING btree (recipient);

CREATE INDEX mails_due ON public.mails USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX mails_ended ON public.mails USING btree (ended_at) WHERE (ended_at IS NOT NULL);

CREATE INDEX recipients_due ON public.recipients USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX subscriptions_campaign ON public.subscriptions USING btree (campaign) WHERE (ended_at IS NULL);

CREATE INDEX subscriptions_ended ON public.subscriptions USING btree (ended_at) WHERE (ended_at IS NOT NULL);

CREATE INDEX subscriptions_recipient ON public.subscriptions USING btree (recipient) WHERE (ended_at IS NULL);

ALTER TABLE ONLY public.mail_deliveries
    ADD CONSTRAINT mail_deliveries_mail_fkey FOREIGN KEY (mail) REFERENCES public.mails(id) ON DELETE CASCADE;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.deliveries TO notifications;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.gone_addresses TO notifications;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.mail_deliveries TO notifications;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.mailed_campaigns TO notifications;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.mails TO notifications;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO notifications;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.positions TO notifications;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.recipients TO notifications;

GRANT SELECT,INSERT ON TABLE public.recoveries TO notifications;

GRANT SELECT ON TABLE public.schema_version TO notifications;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.subscriptions TO notifications;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.suppressions TO notifications;

"""What there is to know about one counted topic, and the tables that its actions are kept in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.topics import Topic, dead_letters_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedTopic:
    """A topic whose records become counted actions, one row for each key in `table`.

    Its tally batches go to `tallies`. With `daily_limit`, what a person sends beyond the limit that their submission
    carries is held. With `names`, the names of confirmed actions may be shown (table `signatories`).
    """

    topic: Topic
    table: str
    tallies: Topic
    daily_limit: bool = False
    names: bool = False

    @property
    def dead_letters(self) -> Topic:
        """Where the records go that cannot be counted."""
        return dead_letters_of(self.topic)

    @property
    def group(self) -> str:
        """The consumer group: `petitions.count-signatures`."""
        return f"{self.topic.owner}.count-{self.table}"


SHARED_SCHEMA: Final = """
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
"""
"""What every counting service's first migration makes, once.

`submissions` keeps the sealed data of each key's first submission, and of `further` ones with other data; it grows in
the order of the log, and erasing a person deletes there. `dead_letters` says which records could not be counted,
whether a redrive of theirs was applied, and whether their key was submitted again since.
"""

SIGNATORIES_SCHEMA: Final = """
CREATE TABLE signatories (
    key bytea PRIMARY KEY,
    subject text NOT NULL,
    topic text NOT NULL,
    partition smallint NOT NULL,
    "offset" bigint NOT NULL,
    accepted_ms bigint NOT NULL
);
CREATE INDEX signatories_in_order ON signatories (subject, accepted_ms, key);
"""
"""Whose name may be shown: the submission whose link was pressed said so."""


def table_schema(table: str) -> str:
    """The table of one counted topic: a row for each key.

    `state` and the rest are those of `shared.counting.transitions.Row`. `dimensions` refers to the table of that name
    without a constraint: it would be checked for each of millions of rows, and only the counter writes here.
    """
    return f"""
CREATE TABLE {table} (
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
"""


PERSON_DAYS_SCHEMA: Final = """
CREATE TABLE person_days (
    person bytea NOT NULL,
    day integer NOT NULL,
    opened integer NOT NULL,
    PRIMARY KEY (person, day)
);
"""
"""How many actions a person (key) has begun on a day (whole days since 1970, UTC, by the broker's clock)."""

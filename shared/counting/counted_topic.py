"""The definition of a counted topic."""

from __future__ import annotations

from dataclasses import dataclass

from shared.topics import Topic, dead_letter_topic


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedTopic:
    """A topic whose records become counted actions, one row for each key in `table`.

    Its tally batches go to `tallies`. With `daily_limit`, submissions of a person beyond the limit that they carry
    are held. With `shows_names`, the names of confirmed actions may be shown (table `signatories`).
    """

    topic: Topic
    table: str
    tallies: Topic
    daily_limit: bool = False
    shows_names: bool = False

    @property
    def dead_letters(self) -> Topic:
        """The topic of the records that cannot be counted."""
        return dead_letter_topic(self.topic)

    @property
    def group(self) -> str:
        """The consumer group: `petitions.count-signatures`."""
        return f"{self.topic.owner}.count-{self.table}"

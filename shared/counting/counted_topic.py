"""The definition of a counted topic."""

from __future__ import annotations

from dataclasses import dataclass

from shared.counting.projections import Projection
from shared.counting.quotas import Quota
from shared.topics import Topic, dead_letter_topic


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedTopic:
    """A topic whose records become counted actions, one row for each key in `table`.

    Its tally batches go to `tallies`. A service adds what is its own: `projections`, tables that follow the actions,
    and a `quota`, beyond which submissions are held.
    """

    topic: Topic
    table: str
    tallies: Topic
    projections: tuple[Projection, ...] = ()
    quota: Quota | None = None

    @property
    def dead_letters(self) -> Topic:
        """The topic of the records that cannot be counted."""
        return dead_letter_topic(self.topic)

    @property
    def group(self) -> str:
        """The consumer group: `petitions.count-signatures`."""
        return f"{self.topic.owner}.count-{self.table}"

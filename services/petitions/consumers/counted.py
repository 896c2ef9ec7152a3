"""The counted topics of petitions: signatures, and acts (shares, pledges and tasks)."""

from __future__ import annotations

from typing import Final

from shared import topics
from shared.counting.counted_topic import CountedTopic

SIGNATURES: Final = CountedTopic(
    topic=topics.SIGNATURES, table="signatures", tallies=topics.PETITIONS_TALLIES, shows_names=True
)
ACTS: Final = CountedTopic(topic=topics.ACTS, table="acts", tallies=topics.PETITIONS_TALLIES)
COUNTED: Final = (SIGNATURES, ACTS)

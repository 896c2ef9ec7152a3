"""The counted topics of petitions: signatures, and acts (shares, pledges and tasks)."""

from __future__ import annotations

from typing import Final

from services.petitions.consumers.signatories import Signatories
from shared import topics
from shared.counting.counted_topic import CountedTopic

SIGNATURES: Final = CountedTopic(
    topic=topics.SIGNATURES,
    table="signatures",
    tallies=topics.PETITIONS_TALLIES,
    projections=(Signatories("signatures"),),
)
ACTS: Final = CountedTopic(topic=topics.ACTS, table="acts", tallies=topics.PETITIONS_TALLIES)
COUNTED: Final = (SIGNATURES, ACTS)

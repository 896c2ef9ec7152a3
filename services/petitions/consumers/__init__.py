"""The counted topics of petitions: signatures, and acts (shares, pledges and tasks)."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI

from services.petitions.consumers.signatories import Signatories
from services.petitions.settings import PetitionsSettings
from shared import topics
from shared.counting.counted_topic import CountedTopic
from shared.counting.process import create_counter_app

SIGNATURES: Final = CountedTopic(
    topic=topics.SIGNATURES,
    table="signatures",
    tallies=topics.PETITIONS_TALLIES,
    projections=(Signatories("signatures"),),
)
ACTS: Final = CountedTopic(topic=topics.ACTS, table="acts", tallies=topics.PETITIONS_TALLIES)
COUNTED: Final = (SIGNATURES, ACTS)


def create_counter(settings: PetitionsSettings) -> FastAPI:
    """The application of a counter process."""
    return create_counter_app(settings, "petitions", COUNTED)

"""The counted topic of letters: letters, postcards, drawings and solidarity messages."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI

from services.letters.consumers.daily_quota import DailyQuota
from services.letters.settings import LettersSettings
from shared import topics
from shared.counting.counted_topic import CountedTopic
from shared.counting.process import create_counter_app

MESSAGES: Final = CountedTopic(
    topic=topics.MESSAGES, table="messages", tallies=topics.LETTERS_TALLIES, quota=DailyQuota()
)
COUNTED: Final = (MESSAGES,)


def create_counter(settings: LettersSettings) -> FastAPI:
    """The application of a counter process."""
    return create_counter_app(settings, "letters", COUNTED)

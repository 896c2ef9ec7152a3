"""The counted topic of letters: letters, postcards, drawings and solidarity messages."""

from __future__ import annotations

from typing import Final

from services.letters.consumers.daily_quota import DailyQuota
from shared import topics
from shared.counting.counted_topic import CountedTopic

MESSAGES: Final = CountedTopic(
    topic=topics.MESSAGES, table="messages", tallies=topics.LETTERS_TALLIES, quota=DailyQuota()
)
COUNTED: Final = (MESSAGES,)

"""The counted topics of all services, as commands choose among them."""

from __future__ import annotations

from typing import Final

from services.letters.consumers import counted as letters_counted
from services.petitions.consumers import counted as petitions_counted
from shared.counting.counted_topic import CountedTopic
from shared.errors import SetupError

COUNTED_TOPICS: Final = (*petitions_counted.COUNTED, *letters_counted.COUNTED)


def counted_topics(topic: str, service: str = "") -> list[CountedTopic]:
    """Return the counted topics called `topic` that `service` counts; an empty word stands for all of them.

    Raises:
        SetupError: there is none; the message says which there are.
    """
    names = [counted.topic.name for counted in COUNTED_TOPICS]
    if topic and topic not in names:
        raise SetupError(f"{topic} is not a counted topic; these are: {', '.join(names)}")
    services = dict.fromkeys(counted.topic.owner for counted in COUNTED_TOPICS)
    if service and service not in services:
        raise SetupError(f"there is no service {service} that counts; these do: {', '.join(services)}")
    chosen = [counted for counted in COUNTED_TOPICS if topic in {"", counted.topic.name}]
    if not (found := [counted for counted in chosen if service in {"", counted.topic.owner}]):
        raise SetupError(f"{service} does not count {topic}; {chosen[0].topic.owner} does")
    return found

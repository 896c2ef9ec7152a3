"""The examples of events, and the page of events generated from them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from deploy.mille.events import PAGE, page
from shared import topics
from shared.events import cloudevents
from shared.events.classes import EVENTS
from shared.events.examples import Example, load_examples
from shared.events.marathon import TotalsChanged

EXAMPLES = [pytest.param(example, id=f"{example.event}-{example.version}") for example in load_examples()]

NEWEST = [
    pytest.param(example, id=name) for name, example in {example.event: example for example in load_examples()}.items()
]
"""The last version of each event: files are read in the order of their names."""


def test_every_event_of_every_topic_has_an_example() -> None:
    assert {example.event for example in load_examples()} == {event for topic in topics.ALL for event in topic.events}
    assert {example.event for example in load_examples()} == set(EVENTS)


@pytest.mark.parametrize("example", NEWEST)
def test_an_example_says_every_field_and_none_besides(example: Example) -> None:
    assert decode_and_encode(example) == example.document["value"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_an_older_version_keeps_its_meaning(example: Example) -> None:
    decoded, documented = decode_and_encode(example), example.document["value"]
    assert restricted(decoded, documented) == documented


def restricted(value: Any, documented: Any) -> Any:
    """Return `value` without the members, at any depth, that `documented` does not have."""
    if isinstance(documented, dict):
        return {name: restricted(value[name], documented[name]) for name in documented}
    if isinstance(documented, list):
        return [restricted(item, of) for item, of in zip(value, documented, strict=True)]
    return value


def decode_and_encode(example: Example) -> Any:
    """Return the value of `example` after decoding and encoding by the event's current class."""
    event = msgspec.json.decode(example.value, type=EVENTS[example.event])
    return msgspec.json.decode(msgspec.json.encode(event))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_stands_on_a_topic_that_may_carry_it(example: Example) -> None:
    assert example.event in topics.BY_NAME[example.topic].events
    assert cloudevents.parse_event_type(example.headers).name == example.event
    assert example.document["headers"]["ce_dataversion"] == example.version


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_cloudevent_to_others(example: Example) -> None:
    message = KafkaMessage(headers=dict(example.headers), key=None, value=example.value)
    event = from_binary(message, JSONFormat())
    assert event.get_type() == example.event
    assert event.get_data() == example.document["value"]


def test_the_maps_of_the_totals_example_sum_to_its_totals() -> None:
    (document,) = (example.value for example in load_examples() if example.event == "totals-changed")
    totals = msgspec.json.decode(document, type=TotalsChanged)
    for parts in (totals.by_case, totals.by_country, totals.by_kind, totals.by_channel, totals.by_language):
        assert sum(parts.values()) == totals.public_total
    assert sum(totals.by_evidence.values()) == totals.total


def test_the_page_of_events_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `mille events`"

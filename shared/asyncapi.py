"""Each service's AsyncAPI document: the topics it emits and consumes, declared with FastStream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from faststream.kafka import KafkaBroker
from faststream.specification import AsyncAPI
from pydantic import BaseModel

from shared import topics
from shared.events.classes import EVENTS
from shared.kafka.subscription import Subscription

VERSION: Final = "1.0"

CONSUMED: Final[dict[str, tuple[topics.Topic, ...]]] = {
    "petitions": (topics.SIGNATURES, topics.ACTS, *topics.COMPACTED),
    "letters": (topics.MESSAGES, *topics.COMPACTED),
    "marathon": (topics.PETITIONS_TALLIES, topics.LETTERS_TALLIES, topics.CASES, topics.TOTALS),
    "notifications": (topics.SIGNATURES, topics.MESSAGES, topics.CASES, topics.KEYS),
}
"""The topics that each service reads; a test compares them with what the applications read."""


def build_document(service: str, subscriptions: Sequence[Subscription] = ()) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of `service` as JSON-ready values, without connecting to a broker.

    What it consumes is what its `subscriptions` declare, and of other topics every event.
    """
    broker = KafkaBroker()
    for topic in topics.ALL:
        if topic.owner == service:
            for event in topic.events:
                broker.publisher(topic.name, title=f"{topic.name}:{event}", schema=_payload_model([event]))
    declared = {topic.name: topic.events for topic in CONSUMED.get(service, ())}
    for subscription in subscriptions:
        declared |= {name: tuple(each.decoders) for name, each in subscription.declarations.items()}
    for name, events in declared.items():
        broker.subscriber(name, title=f"{name}:read", description=", ".join(events))(_placeholder_consumer(events))
    specification = AsyncAPI(broker, title=f"Milleplumes {service}", version=VERSION)
    content: dict[str, Any] = _sorted_members(specification.to_specification().to_jsonable())
    return content


def _sorted_members(value: Any) -> Any:
    """Sort the members of `value`, so that the document is the same each time."""
    if isinstance(value, dict):
        return {name: _sorted_members(value[name]) for name in sorted(value)}
    return value


def _placeholder_consumer(events: Sequence[str]) -> Callable[..., Awaitable[None]]:
    """Return a function that stands in for the consumer of `events` in the document."""

    async def consume(event: Any) -> None:
        """Do nothing: the document describes the parameter."""

    consume.__annotations__["event"] = _payload_model(events)
    return consume


def _payload_model(events: Sequence[str]) -> type[BaseModel]:
    """Return a model by which FastStream describes msgspec classes: its JSON schema is that of one of them."""
    structs = [EVENTS[event] for event in events]

    def model_json_schema(_model: type[BaseModel], /, **_options: Any) -> dict[str, Any]:
        references, components = msgspec.json.schema_components(structs, ref_template="#/$defs/{name}")
        definitions = dict(components)
        if len(references) > 1:
            return {"oneOf": list(references), "$defs": definitions}
        schema = definitions.pop(references[0]["$ref"].rpartition("/")[2])
        return {**schema, "$defs": definitions} if definitions else schema

    doc = "\n\n".join(struct.__doc__ or "" for struct in structs)
    body = {"model_json_schema": classmethod(model_json_schema), "__doc__": doc, "__module__": __name__}
    return type("Or".join(struct.__name__ for struct in structs), (BaseModel,), body)

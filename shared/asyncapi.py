"""Each service's AsyncAPI document: the topics it emits and consumes, declared with FastStream."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from faststream.kafka import KafkaBroker
from faststream.specification import AsyncAPI
from pydantic import BaseModel

from shared import topics
from shared.events import letters, marathon, notifications, petitions, tallies

VERSION: Final = "1.0"

EVENTS: Final[dict[str, type[msgspec.Struct]]] = {
    "signature-submitted": petitions.SignatureSubmitted,
    "signature-confirmed": petitions.SignatureConfirmed,
    "signature-withdrawn": petitions.SignatureWithdrawn,
    "signature-invalidated": petitions.SignatureInvalidated,
    "signature-reinstated": petitions.SignatureReinstated,
    "act-submitted": petitions.ActSubmitted,
    "act-withdrawn": petitions.ActWithdrawn,
    "message-submitted": letters.MessageSubmitted,
    "message-confirmed": letters.MessageConfirmed,
    "message-withdrawn": letters.MessageWithdrawn,
    "message-invalidated": letters.MessageInvalidated,
    "message-reinstated": letters.MessageReinstated,
    "message-released": letters.MessageReleased,
    "actions-counted": tallies.ActionsCounted,
    "campaign-changed": marathon.CampaignChanged,
    "case-changed": marathon.CaseChanged,
    "campaign-keys-created": marathon.CampaignKeysCreated,
    "access-changed": marathon.AccessChanged,
    "totals-changed": marathon.TotalsChanged,
    "delivery-sent": notifications.DeliverySent,
    "delivery-bounced": notifications.DeliveryBounced,
    "delivery-unsubscribed": notifications.DeliveryUnsubscribed,
    "delivery-resubscribed": notifications.DeliveryResubscribed,
}
"""The class of every event type that a topic may carry."""

_HELD_IN_MEMORY: Final = (topics.CASES, topics.KEYS, topics.ACCESS, topics.TOTALS)

CONSUMED: Final[dict[str, tuple[topics.Topic, ...]]] = {
    "petitions": (topics.SIGNATURES, topics.ACTS, *_HELD_IN_MEMORY),
    "letters": (topics.MESSAGES, *_HELD_IN_MEMORY),
    "marathon": (topics.PETITIONS_TALLIES, topics.LETTERS_TALLIES, *_HELD_IN_MEMORY),
    "notifications": (topics.SIGNATURES, topics.MESSAGES, *_HELD_IN_MEMORY),
}
"""What each service reads."""


def document(service: str) -> dict[str, Any]:
    """The AsyncAPI 3.0 document of `service`, as JSON-ready values. Nothing connects to a broker."""
    broker = KafkaBroker()
    for topic in topics.ALL:
        if topic.owner == service:
            for event in topic.events:
                broker.publisher(topic.name, title=f"{topic.name}:{event}", schema=_payload(event))
    for topic in CONSUMED.get(service, ()):
        broker.subscriber(topic.name, title=f"{topic.name}:read", description=", ".join(topic.events))(_read)
    specification = AsyncAPI(broker, title=f"Milleplumes {service}", version=VERSION)
    content: dict[str, Any] = _in_order(specification.to_specification().to_jsonable())
    return content


def _in_order(value: Any) -> Any:
    """`value` with sorted members, so that the document is the same each time."""
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    return value


async def _read(event: dict[str, Any]) -> None:
    """Stands for the consumer in the document; the services read topics with loops of their own."""


def _payload(event: str) -> type[BaseModel]:
    """A stand-in that lets FastStream describe a msgspec class: it answers with that class's own JSON schema."""
    struct = EVENTS[event]

    def model_json_schema(_model: type[BaseModel], /, **_options: Any) -> dict[str, Any]:
        (reference,), components = msgspec.json.schema_components((struct,), ref_template="#/$defs/{name}")
        definitions = dict(components)
        schema = definitions.pop(reference["$ref"].rpartition("/")[2])
        return {**schema, "$defs": definitions} if definitions else schema

    body = {"model_json_schema": classmethod(model_json_schema), "__doc__": struct.__doc__, "__module__": __name__}
    return type(struct.__name__, (BaseModel,), body)

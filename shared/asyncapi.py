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
    "signature-released": petitions.SignatureReleased,
    "act-submitted": petitions.ActSubmitted,
    "act-withdrawn": petitions.ActWithdrawn,
    "act-invalidated": petitions.ActInvalidated,
    "act-reinstated": petitions.ActReinstated,
    "act-released": petitions.ActReleased,
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

_CATALOG_TOPICS: Final = (topics.CASES, topics.KEYS, topics.ACCESS, topics.TOTALS)

CONSUMED: Final[dict[str, tuple[topics.Topic, ...]]] = {
    "petitions": (topics.SIGNATURES, topics.ACTS, *_CATALOG_TOPICS),
    "letters": (topics.MESSAGES, *_CATALOG_TOPICS),
    "marathon": (topics.PETITIONS_TALLIES, topics.LETTERS_TALLIES, *_CATALOG_TOPICS),
    "notifications": (topics.SIGNATURES, topics.MESSAGES, *_CATALOG_TOPICS),
}
"""The topics that each service reads."""


def build_document(service: str) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of `service` as JSON-ready values, without connecting to a broker."""
    broker = KafkaBroker()
    for topic in topics.ALL:
        if topic.owner == service:
            for event in topic.events:
                broker.publisher(topic.name, title=f"{topic.name}:{event}", schema=_payload_model(event))
    for topic in CONSUMED.get(service, ()):
        broker.subscriber(topic.name, title=f"{topic.name}:read", description=", ".join(topic.events))(
            _placeholder_consumer
        )
    specification = AsyncAPI(broker, title=f"Milleplumes {service}", version=VERSION)
    content: dict[str, Any] = _sorted_members(specification.to_specification().to_jsonable())
    return content


def _sorted_members(value: Any) -> Any:
    """Sort the members of `value`, so that the document is the same each time."""
    if isinstance(value, dict):
        return {name: _sorted_members(value[name]) for name in sorted(value)}
    return value


async def _placeholder_consumer(event: dict[str, Any]) -> None:
    """Stand in for the consumer in the document; the services read topics with loops of their own."""


def _payload_model(event: str) -> type[BaseModel]:
    """Return a model by which FastStream describes a msgspec class: its JSON schema is that of the class."""
    struct = EVENTS[event]

    def model_json_schema(_model: type[BaseModel], /, **_options: Any) -> dict[str, Any]:
        (reference,), components = msgspec.json.schema_components((struct,), ref_template="#/$defs/{name}")
        definitions = dict(components)
        schema = definitions.pop(reference["$ref"].rpartition("/")[2])
        return {**schema, "$defs": definitions} if definitions else schema

    body = {"model_json_schema": classmethod(model_json_schema), "__doc__": struct.__doc__, "__module__": __name__}
    return type(struct.__name__, (BaseModel,), body)

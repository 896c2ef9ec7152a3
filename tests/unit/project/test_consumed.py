"""What the documents say that a service reads is what its application reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import asyncpg
import pytest

from deploy.local.databases import SERVICES
from deploy.local.home import PROJECT
from services.letters.consumers import counted as letters
from services.marathon import app as marathon
from services.marathon.consumers.tallies import tally_subscription
from services.notifications import app as notifications
from services.petitions.consumers import counted as petitions
from shared import asyncapi
from shared.events.notifications import DeliveryUnsubscribed
from shared.intake import process as intake
from shared.kafka.subscription import Event, Subscription
from shared.topics import DELIVERIES, Topic

READ: dict[str, tuple[Topic, ...]] = {
    "petitions": (*(counted.topic for counted in petitions.COUNTED), *intake.CATALOG_TOPICS),
    "letters": (*(counted.topic for counted in letters.COUNTED), *intake.CATALOG_TOPICS),
    "marathon": (*tally_subscription(b"").topics, *marathon.CATALOG_TOPICS),
    "notifications": (*notifications.CONSUMED_TOPICS, *notifications.CATALOG_TOPICS),
}
"""What the readers below are given to read."""
READERS = {
    "shared/counting/process.py: PositionedLoop",
    "shared/intake/process.py: Catalog of CATALOG_TOPICS",
    "services/marathon/app.py: Catalog of CATALOG_TOPICS",
    "services/marathon/app.py: SubscriptionReader",
    "services/notifications/app.py: Catalog of CATALOG_TOPICS",
    "services/notifications/app.py: PositionedLoop",
}


def readers() -> Iterator[str]:
    """Yield every place where a service begins to read topics."""
    for path in sorted([*(PROJECT / "services").rglob("*.py"), *(PROJECT / "shared").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            reads = f" of {given.get('source_topics')}" if node.func.id == "Catalog" else ""
            if node.func.id in {"Catalog", "PositionedLoop", "SubscriptionReader"}:
                yield f"{path.relative_to(PROJECT)}: {node.func.id}{reads}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_said_to_read_what_its_application_reads(service: str) -> None:
    assert set(asyncapi.CONSUMED[service]) == set(READ[service])


def test_no_service_reads_by_a_reader_that_these_tests_do_not_know() -> None:
    assert set(readers()) == READERS


def test_the_document_describes_what_a_subscription_declares() -> None:
    subscription = Subscription(group="letters.follow-deliveries", name="deliveries")

    @subscription.handler(DeliveryUnsubscribed, DELIVERIES)
    async def handle(connection: asyncpg.Connection, event: Event[DeliveryUnsubscribed]) -> None:
        """Do nothing."""

    document = asyncapi.build_document("letters", [subscription])
    channel = f"{DELIVERIES.name}:read"
    assert document["channels"][channel]["description"] == "delivery-unsubscribed"
    assert document["operations"][channel]["action"] == "receive"
    payload = document["components"]["messages"][f"{channel}:SubscribeMessage"]["payload"]
    assert payload == {"$ref": "#/components/schemas/DeliveryUnsubscribed"}
    assert channel not in asyncapi.build_document("letters")["channels"]

"""The requests of the demo, each with its expected response."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec

from deploy.demo.people import Person
from deploy.demo.plan import BATCH_ITEMS, FORM_EVERY, Plan, is_bad

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
SOURCE: Final = "demo"
CONSENT: Final = {"privacy": True, "updates": False, "public_name": False}
TEXTS: Final = {
    "en": "Dear Mara, your words crossed the sea. We read them aloud and think of you. {name}",
    "fr": "Chère Mara, tes mots ont passé la mer. Nous les lisons à voix haute et pensons à toi. {name}",
}

_encode = msgspec.json.Encoder().encode


class Post(NamedTuple):
    """One request to send until it is answered with `status`.

    `service` is petitions or letters. `actions` is the number of records that the post may put on the topic;
    `bad_items` are the indexes in a batch that must be refused.
    """

    service: str
    path: str
    content_type: str
    body: bytes
    status: int
    actions: int = 1
    bad_items: tuple[int, ...] = ()
    authorized: bool = False


def singles(plan: Plan) -> Iterator[Post]:
    """Yield single signatures, most as JSON as a page's script sends them, some as plain HTML forms."""
    for index, signer in enumerate(plan.single_signers()):
        if index % FORM_EVERY == 0:
            form = urlencode({"petition": plan.slugs.petition, **signer._asdict(), "privacy": "on"})
            yield Post("petitions", "/v1/signatures", FORM, form.encode(), 303)
        else:
            yield Post("petitions", "/v1/signatures", JSON, _encode(_signature(plan, signer)), 202)


def batches(plan: Plan) -> Iterator[Post]:
    """Yield batches of signatures from a partner that confirmed the addresses itself; a few items must be refused."""
    items = _partner_items(plan)
    while batch := list(islice(items, BATCH_ITEMS)):
        bad = tuple(index for index, (_, must_fail) in enumerate(batch) if must_fail)
        body = _encode({"items": [item for item, _ in batch]})
        good = len(batch) - len(bad)
        yield Post("petitions", "/v1/signatures/batch", JSON, body, 202, good, bad, authorized=True)


def messages(plan: Plan) -> Iterator[Post]:
    """Yield letters and solidarity messages, one from each writer."""
    for kind, writer in plan.writers():
        message = {
            "case": plan.slugs.letters_case,
            "kind": kind,
            "text": TEXTS[writer.locale].format(name=writer.given_name),
            "language": writer.locale,
            "handwritten": False,
            **writer._asdict(),
            "consent": CONSENT,
        }
        yield Post("letters", "/v1/messages", JSON, _encode(message), 202)


def malformed(plan: Plan) -> Iterator[Post]:
    """Yield requests that must be refused, each with the status that the contract names."""
    good = _signature(plan, plan.signer(0))
    bodies = (
        (_encode(good)[:-1], 400),
        (_encode(good).replace(b'"locale"', b'"age":NaN,"locale"'), 400),
        (b"\xef\xbb\xbf" + _encode(good), 400),
        (_encode(good).replace(b'"given_name"', b'"given\xff_name"'), 400),
        (b"[" * 64 + b"]" * 64, 400),
        (_encode({**good, "email": 7}), 422),
        (_encode({**good, "email": "no address"}), 422),
        (_encode({**good, "country": "QQ"}), 422),
        (_encode({**good, "given_name": ""}), 422),
        (_encode({**good, "given_name": "n" * 5_000}), 422),
        (_encode({**good, "family_name": "a\x00b"}), 422),
        (_encode({**good, "consent": {**CONSENT, "privacy": False}}), 422),
        (_encode({**good, "petition": f"nobody-knows-{plan.run}"}), 404),
        (b'{"comment":"' + b"x" * 80_000 + b'"}', 413),
    )
    for body, status in bodies:
        yield Post("petitions", "/v1/signatures", JSON, body, status, actions=0)
    yield Post("petitions", "/v1/signatures", "text/csv", _encode(good), 415, actions=0)
    yield Post("petitions", "/v1/signatures/batch", JSON, _encode({"items": [good]}), 401, actions=0)
    unticked = urlencode({"petition": plan.slugs.petition, "given_name": "Ana", "email": "no address"})
    yield Post("petitions", "/v1/signatures", FORM, unticked.encode(), 422, actions=0)
    yield Post("letters", "/v1/messages", JSON, b'{"case":', 400, actions=0)


def _partner_items(plan: Plan) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the partner's items in order, and whether each must be refused."""
    for index, signer in enumerate(plan.partner_signers()):
        item = {**_signature(plan, signer), "confirmed_at": plan.started_at}
        if is_bad(index):
            yield {**item, "email": "no address"}, True
        yield item, False


def _signature(plan: Plan, signer: Person) -> dict[str, Any]:
    return {"petition": plan.slugs.petition, **signer._asdict(), "consent": CONSENT, "source": SOURCE}

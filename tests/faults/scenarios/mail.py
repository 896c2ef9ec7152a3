"""SMTP servers that misbehave, and what opens links by itself."""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
from html import unescape
from typing import Final

from tests.faults import evidence
from tests.faults.journal import Act
from tests.faults.load import Load, Target
from tests.faults.nemeses import until
from tests.faults.registry import Fire, Without, scenario
from tests.faults.running import import_campaign

SENDER: Final = "notifications-all"
INTAKE: Final = "petitions-intake"
RATE: Final = 40
CONNECTIONS: Final = 8
"""How many conversations with the relay may meet a slow domain at the same time."""
ROUNDS: Final = 3
LOST: Final = 3
"""Answers that are lost: a domain that has lost a few is left alone for half a minute."""
LATE_S: Final = 6.0
"""A mail to whom nothing stands in the way of is there by then."""
LINKS: Final = re.compile(r"https?://[^\s\"'<>]+")


@scenario(
    "lost-smtp-answer",
    rows="27",
    rate=RATE,
    confirmation="optional",
    without=(Without("new-message-ids", (SENDER,), "D"),),
)
async def lost_smtp_answer(fire: Fire) -> None:
    """The relay takes mails and its answer is lost: they come again, as the same message."""
    fire.expected.copies = 2
    load, office = fire.load, fire.stand.office
    first = max(act.number for act in fire.journal.tried) + 20
    upcoming = [load.address(Act("signature", number)) for number in range(first, first + 100)]
    office.lose_answer_to.update(upcoming)

    async def lost() -> bool:
        return len(office.lose_answer_to) <= len(upcoming) - LOST

    await until(lost, "answers lost")
    office.lose_answer_to.clear()
    fire.heal()

    async def again() -> bool:
        return sum(len(office.to(address)) > 1 for address in upcoming) >= LOST

    await until(again, "mails that come again", 120.0)


@scenario(
    "slow-domain",
    rows="28",
    rate=RATE,
    confirmation="optional",
    without=(Without("asks-slow-domains-again", (SENDER,), "D"),),
)
async def slow_domain(fire: Fire) -> None:
    """One domain answers 421: the others' mails go on at once, and its own wait without being tried one by one."""
    office, slow = fire.stand.office, fire.load.tenth_domain
    office.answers[slow] = "421 4.7.0 not now"
    await fire.last(20.0)
    in_time = [fire.load.address(act) for act in tuple(fire.journal.acknowledged)]
    await fire.last(LATE_S)
    there = {letter.to for letter in office.letters}
    late = [address for address in in_time if address not in there and not address.endswith(f"@{slow}")]
    fire.must(not late, f"D: {len(late)} mails to other domains are late")
    asked = sum(count for address, count in office.refused.items() if address.endswith(f"@{slow}"))
    fire.must(0 < asked <= CONNECTIONS * ROUNDS, f"D: the slow domain was asked {asked} times")
    del office.answers[slow]
    fire.heal()


@scenario(
    "bounced-mail",
    rows="29",
    rate=RATE,
    confirmation="optional",
    without=(Without("forgets-bounces", (SENDER,), "D"),),
)
async def bounced_mail(fire: Fire) -> None:
    """Mailboxes of one domain are gone: nothing goes there again, also not after another act of the same people."""
    office, gone = fire.stand.office, fire.load.tenth_domain
    office.answers[gone] = "550 5.1.1 no such user"
    fire.expected.no_mail_to = gone
    before = {act for act in fire.journal.acknowledged if act.number % 10 == 0}
    later = f"again-{fire.campaign}"
    await import_campaign(fire.stand, later, confirmation="optional")

    def new_people() -> list[Act]:
        return [act for act in fire.journal.acknowledged if act.number % 10 == 0 and act not in before]

    async def refused() -> bool:
        return sum(office.refused[fire.load.address(act)] > 0 for act in new_people()) >= 5

    await until(refused, "bounces")
    people = [act for act in new_people() if office.refused[fire.load.address(act)]][:5]
    await fire.last(2.0)
    other = Load(Target(fire.load.target.petitions, fire.load.target.letters, later), 1, 0)
    # The same addresses in another campaign, which would be written to at once.
    other.address = fire.load.address  # type: ignore[method-assign]
    for act in people:
        await other.act(act)
    await other.cancel()
    await fire.last(LATE_S)
    asked = sum(office.refused[fire.load.address(act)] for act in people)
    fire.must(asked == len(people), f"D: {len(people)} mailboxes that are gone were written to {asked} times")
    fire.heal()


@scenario(
    "mail-scanner",
    rows="30",
    rate=RATE,
    confirmation="optional",
    without=(Without("opening-confirms", (INTAKE,), "C"),),
)
async def mail_scanner(fire: Fire) -> None:
    """A scanner opens every link of every mail twice: nobody is confirmed, withdrawn or unsubscribed by that."""
    mine = f"{fire.campaign}.example.org"
    await fire.last(3.0)
    mails = [letter for letter in fire.stand.office.letters if letter.to.endswith(mine)][:60]
    found = sorted({link for letter in mails for link in _links(letter.text, letter.part("html"), letter.raw)})
    fire.must(len(found) > len(mails), "D: the mails have no links")
    opened = await asyncio.gather(*(asyncio.to_thread(_open_twice, link) for link in found))
    fire.must(sum(opened) >= len(mails), "D: the links lead nowhere")
    await fire.last(2.0)
    for source in evidence.SOURCES:
        said = [
            dict(record.headers).get("ce_type", b"")
            for record in await evidence.read(fire.stand.kafka, source.topic, fire.marks.ends)
        ]
        others = [name for name in said if not name.endswith(b"-submitted")]
        fire.must(not others, f"C: opening links made {len(others)} events")
    async with evidence.database(fire.stand.databases["notifications"]) as connection:
        unsubscribed = await connection.fetchval("SELECT count(*) FROM suppressions WHERE reason = 'unsubscribed'")
    fire.must(unsubscribed == 0, f"D: opening links unsubscribed {unsubscribed} people")
    document = await asyncio.to_thread(evidence.totals, fire.stand, fire.campaign) or {"by_evidence": {}}
    fire.must(not document["by_evidence"].get("confirmed"), "C: opening links confirmed people")
    fire.heal()


def _links(text: str, html: str, raw: bytes) -> set[str]:
    head = raw.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").decode("ascii", "replace")
    return {link.rstrip(".,)") for part in (text, unescape(html), head) for link in LINKS.findall(part)}


def _open_twice(link: str) -> bool:
    """Open `link` twice by GET and once by HEAD; whether there was a page."""
    status = 0
    for method in ("GET", "HEAD", "GET"):
        request = urllib.request.Request(link, method=method)  # noqa: S310  links of our own mails
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code if method == "GET" else status
            error.close()
    return status == 200

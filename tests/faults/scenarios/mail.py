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
from tests.faults.nemeses import wait_until
from tests.faults.registry import Sabotaged, ScenarioRun, scenario
from tests.faults.scenario_run import import_campaign

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
    without=(Sabotaged("new-message-ids", (SENDER,), "D"),),
)
async def lost_smtp_answer(run: ScenarioRun) -> None:
    """The relay takes mails and its answer is lost: they come again, as the same message."""
    run.expected.copies = 2
    load, smtp_server = run.load, run.stand.smtp_server
    first = max(act.number for act in run.journal.tried) + 20
    upcoming = [load.address(Act("signature", number)) for number in range(first, first + 100)]
    smtp_server.lose_answer_to.update(upcoming)

    async def lost() -> bool:
        return len(smtp_server.lose_answer_to) <= len(upcoming) - LOST

    await wait_until(lost, "answers lost")
    smtp_server.lose_answer_to.clear()
    run.heal()

    async def again() -> bool:
        return sum(len(smtp_server.mails_to(address)) > 1 for address in upcoming) >= LOST

    await wait_until(again, "mails that come again", 120.0)


@scenario(
    "slow-domain",
    rows="28",
    rate=RATE,
    confirmation="optional",
    without=(Sabotaged("asks-slow-domains-again", (SENDER,), "D"),),
)
async def slow_domain(run: ScenarioRun) -> None:
    """One domain answers 421: the others' mails go on at once, and its own wait without being tried one by one."""
    smtp_server, slow = run.stand.smtp_server, run.load.tenth_domain
    smtp_server.rcpt_answers[slow] = "421 4.7.0 not now"
    await run.wait(20.0)
    in_time = [run.load.address(act) for act in tuple(run.journal.acknowledged)]
    await run.wait(LATE_S)
    there = {mail.to for mail in smtp_server.mails}
    late = [address for address in in_time if address not in there and not address.endswith(f"@{slow}")]
    run.require(not late, f"D: {len(late)} mails to other domains are late")
    asked = sum(count for address, count in smtp_server.refusals.items() if address.endswith(f"@{slow}"))
    run.require(0 < asked <= CONNECTIONS * ROUNDS, f"D: the slow domain was asked {asked} times")
    del smtp_server.rcpt_answers[slow]
    run.heal()


@scenario(
    "bounced-mail",
    rows="29",
    rate=RATE,
    confirmation="optional",
    without=(Sabotaged("forgets-bounces", (SENDER,), "D"),),
)
async def bounced_mail(run: ScenarioRun) -> None:
    """Mailboxes of one domain are gone: nothing goes there again, also not after another act of the same people."""
    smtp_server, gone = run.stand.smtp_server, run.load.tenth_domain
    smtp_server.rcpt_answers[gone] = "550 5.1.1 no such user"
    run.expected.no_mail_to = gone
    before = {act for act in run.journal.acknowledged if act.number % 10 == 0}
    later = f"again-{run.campaign}"
    await import_campaign(run.stand, later, confirmation="optional")

    def new_people() -> list[Act]:
        return [act for act in run.journal.acknowledged if act.number % 10 == 0 and act not in before]

    async def refused() -> bool:
        return sum(smtp_server.refusals[run.load.address(act)] > 0 for act in new_people()) >= 5

    await wait_until(refused, "bounces")
    people = [act for act in new_people() if smtp_server.refusals[run.load.address(act)]][:5]
    await run.wait(2.0)
    other = Load(Target(run.load.target.petitions, run.load.target.letters, later), 1, 0)
    # The same addresses in another campaign, which would be written to at once.
    other.address = run.load.address  # type: ignore[method-assign]
    for act in people:
        await other.act(act)
    await other.cancel()
    await run.wait(LATE_S)
    asked = sum(smtp_server.refusals[run.load.address(act)] for act in people)
    run.require(asked == len(people), f"D: {len(people)} mailboxes that are gone were written to {asked} times")
    run.heal()


@scenario(
    "mail-scanner",
    rows="30",
    rate=RATE,
    confirmation="optional",
    without=(Sabotaged("opening-confirms", (INTAKE,), "C"),),
)
async def mail_scanner(run: ScenarioRun) -> None:
    """A scanner opens every link of every mail twice: nobody is confirmed, withdrawn or unsubscribed by that."""
    mine = f"{run.campaign}.example.org"
    await run.wait(3.0)
    mails = [letter for letter in run.stand.smtp_server.mails if letter.to.endswith(mine)][:60]
    found = sorted({link for letter in mails for link in _links(letter.text, letter.part("html"), letter.raw)})
    run.require(len(found) > len(mails), "D: the mails have no links")
    opened = await asyncio.gather(*(asyncio.to_thread(_open_twice, link) for link in found))
    run.require(sum(opened) >= len(mails), "D: the links lead nowhere")
    await run.wait(2.0)
    for source in evidence.SOURCES:
        said = [
            dict(record.headers).get("ce_type", b"")
            for record in await evidence.read(run.stand.kafka, source.topic, run.marks.ends)
        ]
        others = [name for name in said if not name.endswith(b"-submitted")]
        run.require(not others, f"C: opening links made {len(others)} events")
    async with evidence.database(run.stand.databases["notifications"]) as connection:
        unsubscribed = await connection.fetchval("SELECT count(*) FROM suppressions WHERE reason = 'unsubscribed'")
    run.require(unsubscribed == 0, f"D: opening links unsubscribed {unsubscribed} people")
    document = await asyncio.to_thread(evidence.totals, run.stand, run.campaign) or {"by_evidence": {}}
    run.require(not document["by_evidence"].get("confirmed"), "C: opening links confirmed people")
    run.heal()


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

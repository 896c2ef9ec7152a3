"""The demo's story, from two campaigns of its own to the verdict."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Final

from deploy.demo import campaigns, posts, topic, verdict
from deploy.demo.commands import Mille
from deploy.demo.display import Display
from deploy.demo.mailbox import Mailbox
from deploy.demo.plan import LETTERS, MESSAGES_PRESSED, SOLIDARITY_MESSAGES, Plan
from deploy.demo.sender import DemoError, Journal, Sender
from deploy.demo.verdict import Line, exactly
from deploy.demo.watch import Watch
from deploy.local.endpoints import Endpoints
from shared.topics import MESSAGES, SIGNATURES

BATCHES_AT_ONCE: Final = 4
SINGLES_AT_ONCE: Final = 64
MESSAGES_AT_ONCE: Final = 2
PRESSES_AT_ONCE: Final = 8
TOPICS: Final = (SIGNATURES.name, MESSAGES.name)


class Driver:
    """One run of `plan` against the platform at `at`, whose `MILLE_HOME` is `home`.

    Raises:
        DemoError: the platform keeps its mail elsewhere than in a local mailbox.
    """

    def __init__(self, at: Endpoints, home: Path, plan: Plan, display: Display) -> None:
        if at["mailbox"] is None:
            raise DemoError("the demo reads the local mailbox: run it without SMTP_HOST")
        self._at = at
        self._plan = plan
        self._display = display
        self._figures = display.figures
        self._mille = Mille(home)
        self._journal = Journal()
        self._mailbox = Mailbox(Path(at["mailbox"]), plan.run)
        slugs = plan.slugs
        self._campaigns = (slugs.campaign, slugs.letters_campaign)
        self._watch = Watch(at["marathon"], self._campaigns, self._mailbox, self._journal, self._figures)
        self._figures.board = f"{at['marathon']}/campaigns/{slugs.campaign}/board"
        self._figures.target = plan.people + LETTERS + SOLIDARITY_MESSAGES
        self._figures.mails_target = plan.mails

    async def run(self) -> bool:
        """Do everything; whether every comparison held.

        Raises:
            DemoError: a step could not be done.
        """
        following = [asyncio.create_task(self._watch.follow()), asyncio.create_task(self._display.follow())]
        try:
            return await self._story()
        except ExceptionGroup as failures:
            raise _first(failures) from failures
        finally:
            for task in following:
                task.cancel()
            await asyncio.wait(following)

    async def _story(self) -> bool:
        api_key = await self._import()
        self._display.say(f"The board: {self._figures.board}")
        start = await topic.ends(self._at["kafka"], TOPICS)
        origins = {"petitions": self._at["petitions"], "letters": self._at["letters"]}
        sender = Sender(origins, api_key, self._journal)
        try:
            began = time.monotonic()
            await self._sign(sender)
            self._note(f"{self._journal.acknowledged:,} actions acknowledged", began)
            await self._settle(began)
            await self._press(sender)
        finally:
            sender.close()
        return await self._judge(start)

    async def _import(self) -> str:
        """Import both campaigns; the partner's API key."""
        self._figures.doing = "importing campaigns"
        texts = {"petition": campaigns.signatures(self._plan), "letters": campaigns.letters(self._plan)}
        with tempfile.TemporaryDirectory(prefix="mille-demo-") as folder:
            for name, text in texts.items():
                file = Path(folder) / f"{name}.yaml"
                file.write_text(text)
                await self._mille.output("campaigns", "import", str(file))
        campaign = self._plan.slugs.campaign
        printed = await self._mille.output("keys", "create", "--campaign", campaign, "--scope", "signatures:batch")
        return printed.split()[-1]

    async def _sign(self, sender: Sender) -> None:
        self._figures.doing = "people are signing"
        async with asyncio.TaskGroup() as group:
            group.create_task(sender.send_all(posts.singles(self._plan), SINGLES_AT_ONCE))
            group.create_task(sender.send_all(posts.messages(self._plan), MESSAGES_AT_ONCE))
            group.create_task(sender.send_all(posts.malformed(self._plan), 1))
            group.create_task(sender.send_all(posts.batches(self._plan), BATCHES_AT_ONCE))

    async def _settle(self, began: float) -> None:
        """Wait until everything is counted and every mail has come."""
        figures = self._figures
        figures.doing = "waiting for the count"
        await self._watch.until("the count", lambda: figures.counted >= figures.target)
        self._note("All on the board", began)
        figures.doing = "waiting for the mails"
        await self._watch.until("the mails", lambda: figures.mails >= figures.mails_target)
        self._note("All mails in the mailbox", began)

    async def _press(self, sender: Sender) -> None:
        """Open every link, which must change nothing, then press the button behind it."""
        self._figures.doing = "people press the links in their mails"
        links = self._links()
        before = await topic.ends(self._at["kafka"], TOPICS)
        await _side_by_side(_expect(sender, "GET", link, {200}) for link in links)
        if await topic.ends(self._at["kafka"], TOPICS) != before:
            raise DemoError("opening a confirmation link changed something: only pressing the button may")
        await _side_by_side(_expect(sender, "POST", link, {200, 303}) for link in links)
        maps = (self._plan.expected_signatures(), self._plan.expected_messages())
        wanted = {name: counts["by_evidence"]["confirmed"] for name, counts in zip(self._campaigns, maps, strict=True)}
        await self._watch.until("the confirmations", lambda: self._watch.confirmed() == wanted)

    def _links(self) -> list[str]:
        plan = self._plan
        signers = [plan.signer(number).email for number in range(plan.pressed)]
        writers = [writer.email for _, writer in plan.writers()][:MESSAGES_PRESSED]
        wanted = [(address, f"{self._at['petitions']}/confirm/") for address in signers]
        wanted += [(address, f"{self._at['letters']}/letters/confirm/") for address in writers]
        links = [self._mailbox.link(address, re.escape(prefix) + r"[\w.-]+") for address, prefix in wanted]
        found = [link for link in links if link]
        if len(found) < len(links):
            raise DemoError(f"{len(links) - len(found)} mails hold no link to confirm")
        return found

    async def _judge(self, start: topic.Offsets) -> bool:
        """Compare everything with what was expected, and print it."""
        self._figures.doing = "auditing"
        plan, documents = self._plan, self._watch.documents
        (status, printed), submitted = await asyncio.gather(
            self._mille.outcome("audit"), topic.submitted(self._at["kafka"], TOPICS, start)
        )
        countries, lines = verdict.compare("petition", plan.expected_signatures(), documents[self._campaigns[0]])
        more, letters = verdict.compare("letters", plan.expected_messages(), documents[self._campaigns[1]])
        lines += [*letters, *(line.under("letters: country") for line in more)]
        lines += self._own_lines(sum(submitted[name] for name in self._campaigns))
        lines.append(exactly("mille audit: exit status", 0, status))
        if status:
            self._display.say(printed)
        verdict.show(self._display.console, countries, lines)
        refused = ", ".join(f"{count} times {code}" for code, count in sorted(self._journal.refused.items()))
        self._display.say(f"Refused: {refused}. Actions in posts sent more than once: {self._journal.repeated:,}.")
        return all(line.holds for line in (*countries, *lines))

    def _own_lines(self, submitted: int) -> list[Line]:
        """What the driver knows by itself; `submitted` is how many such records stand on the topics."""
        plan, journal = self._plan, self._journal
        most_repeats = plan.planned_repeats + journal.repeated
        ids = self._mailbox.by_address.values()
        return [
            Line("repeats recognised", plan.planned_repeats, most_repeats, submitted - self._watch.counted()),
            exactly("requests refused", sum(1 for _ in posts.malformed(plan)), sum(journal.refused.values())),
            exactly("items refused in batches", plan.bad_items, journal.refused_items),
            exactly("distinct Message-IDs", plan.mails, self._mailbox.scan()),
            exactly("addresses with two Message-IDs", 0, sum(1 for known in ids if len(known) > 1)),
        ]

    def _note(self, what: str, began: float) -> None:
        self._display.say(f"{what}: {time.monotonic() - began:.1f} s after the first post")


async def _expect(sender: Sender, method: str, link: str, statuses: set[int]) -> None:
    status = await sender.ask(method, link)
    if status not in statuses:
        raise DemoError(f"{method} of a confirmation link was answered {status}")


async def _side_by_side(work: Iterable[Coroutine[None, None, None]]) -> None:
    left = iter(work)

    async def do() -> None:
        for one in left:
            await one

    async with asyncio.TaskGroup() as group:
        for _ in range(PRESSES_AT_ONCE):
            group.create_task(do())


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure inside, however deep."""
    inner = failures.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner

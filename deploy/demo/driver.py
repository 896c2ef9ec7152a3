"""Run the demo, from the import of its two campaigns to the verdict."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from pathlib import Path
from typing import Final

from deploy.demo import posts, topic_records, verdict
from deploy.demo.campaigns import campaign_files
from deploy.demo.commands import Mille
from deploy.demo.display import Display
from deploy.demo.mailbox import Mailbox
from deploy.demo.plan import LETTERS, MESSAGE_LINKS_PRESSED, SOLIDARITY_MESSAGES, Plan
from deploy.demo.sender import DemoError, Journal, Sender, run_concurrently
from deploy.demo.verdict import Comparison, exactly
from deploy.demo.watch import Watch
from deploy.local.endpoints import Endpoints
from shared.topics import MESSAGES, SIGNATURES

CONCURRENT_BATCHES: Final = 4
CONCURRENT_SINGLES: Final = 64
CONCURRENT_MESSAGES: Final = 2
CONCURRENT_PRESSES: Final = 8
TOPICS: Final = (SIGNATURES.name, MESSAGES.name)


class Driver:
    """One run of `plan` against the platform at `at`, whose `MILLE_HOME` is `home`.

    Raises:
        DemoError: the platform has no local mailbox.
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
        """Run everything; return whether every comparison holds.

        Raises:
            DemoError: a step failed.
        """
        background = [asyncio.create_task(self._watch.follow()), asyncio.create_task(self._display.follow())]
        try:
            return await self._run_steps()
        except ExceptionGroup as failures:
            raise _first_failure(failures) from failures
        finally:
            for task in background:
                task.cancel()
            await asyncio.wait(background)

    async def _run_steps(self) -> bool:
        api_key = await self._import()
        self._display.print_line(f"The board: {self._figures.board}")
        start = await topic_records.end_offsets(self._at["kafka"], TOPICS)
        origins = {"petitions": self._at["petitions"], "letters": self._at["letters"]}
        sender = Sender(origins, api_key, self._journal)
        try:
            started = time.monotonic()
            await self._sign(sender)
            self._print_elapsed(f"{self._journal.acknowledged:,} actions acknowledged", started)
            await self._wait_until_counted(started)
            await self._press_links(sender)
        finally:
            sender.close()
        return await self._compare(start)

    async def _import(self) -> str:
        """Import both campaigns; return the partner's API key."""
        self._figures.step = "importing campaigns"
        with tempfile.TemporaryDirectory(prefix="mille-demo-") as folder:
            for name, text in campaign_files(self._plan).items():
                file = Path(folder) / name
                file.write_text(text)
                await self._mille.output("campaigns", "import", str(file))
        campaign = self._plan.slugs.campaign
        printed = await self._mille.output("keys", "create", "--campaign", campaign, "--scope", "signatures:batch")
        return printed.split()[-1]

    async def _sign(self, sender: Sender) -> None:
        self._figures.step = "people are signing"
        async with asyncio.TaskGroup() as group:
            group.create_task(sender.send_all(posts.singles(self._plan), CONCURRENT_SINGLES))
            group.create_task(sender.send_all(posts.messages(self._plan), CONCURRENT_MESSAGES))
            group.create_task(sender.send_all(posts.malformed(self._plan), 1))
            group.create_task(sender.send_all(posts.batches(self._plan), CONCURRENT_BATCHES))

    async def _wait_until_counted(self, started: float) -> None:
        """Wait until everything is counted and every mail has arrived."""
        figures = self._figures
        figures.step = "waiting for the count"
        await self._watch.wait_until("the count", lambda: figures.counted >= figures.target)
        self._print_elapsed("All on the board", started)
        figures.step = "waiting for the mails"
        await self._watch.wait_until("the mails", lambda: figures.mails >= figures.mails_target)
        self._print_elapsed("All mails in the mailbox", started)

    async def _press_links(self, sender: Sender) -> None:
        """Open every link, which must change nothing, then press the button behind it."""
        self._figures.step = "people press the links in their mails"
        links = self._links()
        before = await topic_records.end_offsets(self._at["kafka"], TOPICS)
        await run_concurrently((_expect_status(sender, "GET", link, {200}) for link in links), CONCURRENT_PRESSES)
        if await topic_records.end_offsets(self._at["kafka"], TOPICS) != before:
            raise DemoError("opening a confirmation link changed something: only pressing the button may")
        await run_concurrently((_expect_status(sender, "POST", link, {200, 303}) for link in links), CONCURRENT_PRESSES)
        maps = (self._plan.expected_signatures(), self._plan.expected_messages())
        expected = {
            name: counts["by_evidence"]["confirmed"] for name, counts in zip(self._campaigns, maps, strict=True)
        }
        await self._watch.wait_until("the confirmations", lambda: self._watch.confirmed() == expected)

    def _links(self) -> list[str]:
        plan = self._plan
        signers = [plan.signer(number).email for number in range(plan.links_pressed)]
        writers = [writer.email for _, writer in plan.writers()][:MESSAGE_LINKS_PRESSED]
        sought = [(address, f"{self._at['petitions']}/confirm/") for address in signers]
        sought += [(address, f"{self._at['letters']}/letters/confirm/") for address in writers]
        links = [self._mailbox.find_link(address, re.escape(prefix) + r"[\w.-]+") for address, prefix in sought]
        present = [link for link in links if link]
        if len(present) < len(links):
            raise DemoError(f"{len(links) - len(present)} mails hold no link to confirm")
        return present

    async def _compare(self, start: topic_records.Offsets) -> bool:
        """Compare everything with what was expected, and print the comparisons."""
        self._figures.step = "auditing"
        plan, documents = self._plan, self._watch.documents
        (status, printed), submitted = await asyncio.gather(
            self._mille.run("audit"), topic_records.count_submitted(self._at["kafka"], TOPICS, start)
        )
        countries, lines = verdict.compare("petition", plan.expected_signatures(), documents[self._campaigns[0]])
        message_countries, letters = verdict.compare("letters", plan.expected_messages(), documents[self._campaigns[1]])
        lines += letters
        lines += [each._replace(name=f"letters: country {each.name}") for each in message_countries]
        lines += self._journal_comparisons(sum(submitted[name] for name in self._campaigns))
        lines.append(exactly("mille audit: exit status", 0, status))
        if status:
            self._display.print_line(printed)
        verdict.print_comparisons(self._display.console, countries, lines)
        refused = ", ".join(f"{count} times {code}" for code, count in sorted(self._journal.refused.items()))
        self._display.print_line(
            f"Refused: {refused}. Actions in posts sent more than once: {self._journal.repeated:,}."
        )
        return all(comparison.holds for comparison in (*countries, *lines))

    def _journal_comparisons(self, submitted: int) -> list[Comparison]:
        """Compare the driver's own counts; `submitted` is the number of submitted records on the topics."""
        plan, journal = self._plan, self._journal
        most_repeats = plan.planned_repeats + journal.repeated
        ids = self._mailbox.by_address.values()
        return [
            Comparison("repeats recognised", plan.planned_repeats, most_repeats, submitted - self._watch.counted()),
            exactly("requests refused", sum(1 for _ in posts.malformed(plan)), sum(journal.refused.values())),
            exactly("items refused in batches", plan.bad_items, journal.refused_items),
            exactly("distinct Message-IDs", plan.mails, self._mailbox.scan()),
            exactly("addresses with two Message-IDs", 0, sum(1 for message_ids in ids if len(message_ids) > 1)),
        ]

    def _print_elapsed(self, what: str, started: float) -> None:
        self._display.print_line(f"{what}: {time.monotonic() - started:.1f} s after the first post")


async def _expect_status(sender: Sender, method: str, link: str, statuses: set[int]) -> None:
    status = await sender.request_status(method, link)
    if status not in statuses:
        raise DemoError(f"{method} of a confirmation link was answered {status}")


def _first_failure(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first failure inside, at any depth."""
    inner = failures.exceptions[0]
    return _first_failure(inner) if isinstance(inner, BaseExceptionGroup) else inner

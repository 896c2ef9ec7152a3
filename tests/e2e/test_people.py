"""People act in a real browser, through every service, with and without scripts; the board agrees with SQL."""

from __future__ import annotations

import asyncio
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import OpenPage
from tests.support.running import MilleRun
from tests.support.waiting import wait_until

DEADLINE_S = 60.0
DEADLINE_MS = 60_000
CAMPAIGN = """
campaign:
  slug: {slug}
  title: {{en: A marathon to test, fr: Un marathon à essayer}}
  opens: 2020-01-01T00:00:00Z
  closes: 2100-01-01T00:00:00Z
  goal: 200
  organisation: A society to test
  contact: {{email: write@ngo.example, address: [1 Example Street], imprint: {{en: Registered in Example.}}}}
  languages: [en, fr]
  policies: {{one_per: email, confirmation: optional, public_evidence: [confirmed, recorded], public_threshold: 1}}
cases:
  - slug: first-{slug}
    name: Sample Case
    country: FR
    status: detained
    goal: 10
    address: {{lines: [Sample Case, Hut 3], language: en, country: AQ}}
    writing: {{languages: [ru], rules: {{en: [At most two pages]}}}}
    story: {{en: A story., fr: Une histoire.}}
    petition: {{slug: free-{slug}, title: {{en: Free the sample., fr: Libérez.}}, text: {{en: Free., fr: Libérez.}}, targets: []}}
  - slug: second-{slug}
    name: Another Case
    country: DE
    status: detained
    story: {{en: Another story.}}
    petition: {{slug: free-too-{slug}, title: {{en: Free the other.}}, text: {{en: Free.}}, targets: []}}
"""  # noqa: E501  one line of YAML each


@dataclass(frozen=True)
class Marathon:
    """A campaign of its own on a running system."""

    running: MilleRun
    slug: str

    @property
    def board(self) -> str:
        return f"{self.running.endpoints()['marathon']}/campaigns/{self.slug}/board"

    @property
    def case(self) -> str:
        return f"{self.running.endpoints()['marathon']}/cases/first-{self.slug}"

    def address(self, name: str) -> str:
        """Return an e-mail address that is unique to this module."""
        return f"{name}@{self.slug}.example.org"


@pytest.fixture(scope="module")
def marathon(system: MilleRun, tmp_path_factory: pytest.TempPathFactory) -> Marathon:
    """A fresh campaign with two cases."""
    slug = f"people-{secrets.token_hex(4)}"
    file = tmp_path_factory.mktemp("people") / "campaign.yaml"
    file.write_text(CAMPAIGN.format(slug=slug))
    subprocess.run(
        [sys.executable, "-m", "deploy.mille", "campaigns", "import", str(file)],
        env={"MILLE_HOME": str(system.home.root), "PATH": "/usr/bin:/bin"},
        check=True,
        timeout=120,
    )
    return Marathon(system, slug)


async def fill_in(page: Page, email: str, country: str = "FR") -> None:
    """Fill in the person's fields and the consent."""
    await page.fill("#given_name", "Ana")
    await page.fill("#family_name", "Díaz")
    await page.fill("#email", email)
    await page.select_option("#country", country)
    await page.check("#privacy")


async def submit(page: Page) -> None:
    await page.click("form#act button[type=submit]")


@pytest.mark.parametrize("scripts", [False, True], ids=["without a script", "with a script"])
async def test_a_person_signs_and_is_thanked(*, scripts: bool, marathon: Marathon, open_page: OpenPage) -> None:
    page = await open_page(scripts=scripts, width=360)
    await page.goto(f"{marathon.case}?lang=fr")
    await fill_in(page, marathon.address(f"signs-{scripts}"))
    await submit(page)
    await page.wait_for_url("**/thanks/**")
    assert await page.get_attribute("html", "lang") == "fr"
    assert await page.inner_text("h1") == "Merci."
    assert await page.locator(".nextcase h3").inner_text() == "Another Case"
    state = page.locator("[data-receipt]")
    if scripts:
        await expect(state).to_have_text("compté", timeout=DEADLINE_MS)
    else:
        async with asyncio.timeout(DEADLINE_S):
            while await state.inner_text() != "compté":
                await page.click(".slip a")


@pytest.mark.parametrize("scripts", [False, True], ids=["without a script", "with a script"])
async def test_a_form_that_cannot_be_taken_comes_back_with_all_that_was_typed(
    *, scripts: bool, marathon: Marathon, open_page: OpenPage
) -> None:
    page = await open_page(scripts=scripts, width=360)
    await page.goto(marathon.case)
    await fill_in(page, "ana.example.org", "DE")
    await page.check("#updates")
    await page.uncheck("#privacy")
    async with page.expect_navigation() as navigation:
        await submit(page)
    answer = await navigation.value
    assert answer is not None
    assert answer.status == 422
    assert answer.headers["cache-control"] == "no-store"
    assert await page.input_value("#given_name") == "Ana"
    assert await page.input_value("#email") == "ana.example.org"
    assert await page.input_value("#country") == "DE"
    assert await page.is_checked("#updates")
    links = page.locator("#summary a")
    assert [await link.get_attribute("href") for link in await links.all()] == ["#email", "#privacy"]
    assert await page.locator("#email").get_attribute("aria-invalid") == "true"
    assert "ana@example.org" in await page.inner_text("#email-wrong")
    await fill_in(page, marathon.address(f"mends-{scripts}"))
    await submit(page)
    await page.wait_for_url("**/thanks/**")


async def test_a_person_writes_a_letter_and_is_thanked(marathon: Marathon, open_page: OpenPage) -> None:
    page = await open_page(scripts=False)
    await page.goto(marathon.case)
    await page.click("text=Write a letter")
    await page.fill("#text", "The lilac by your window is in flower.")
    await fill_in(page, marathon.address("writes"))
    await submit(page)
    await page.wait_for_url("**/thanks/**")
    assert await page.inner_text("h1") == "Thank you."


async def test_a_person_prints_a_letter_posts_it_and_says_so(marathon: Marathon, open_page: OpenPage) -> None:
    page = await open_page(scripts=False)
    before = await fetch_totals(marathon)
    await page.goto(marathon.case)
    await page.click("text=Write a letter")
    await page.fill("#text", "The lilac by your window is in flower.")
    await page.fill("#given_name", "Ana")
    await page.click("text=Print it, and post it yourself")
    assert await page.inner_text(".a4 .text p") == "The lilac by your window is in flower."
    assert "Hut 3" in await page.inner_text(".a4 .to")
    code = await page.inner_text(".a4 .code")
    await page.click("text=I posted it")
    assert await page.input_value("#code") == code
    for _ in range(2):
        await fill_in(page, marathon.address("posts"))
        await submit(page)
        await page.wait_for_url("**/letters/posted/thanks/**")
        await page.go_back()

    async def totals_with_the_post() -> dict[str, Any] | None:
        totals = await fetch_totals(marathon)
        return totals if totals["by_evidence"].get("self_reported") else None

    after = await wait_until(totals_with_the_post, DEADLINE_S)
    assert after["by_evidence"]["self_reported"] == 1
    assert after["public_total"] - before["public_total"] == after["total"] - before["total"] - 1


async def fetch_totals(marathon: Marathon) -> dict[str, Any]:
    """Return the public totals document of the campaign."""
    async with httpx.AsyncClient(timeout=20) as client:
        answer = await client.get(f"{marathon.running.endpoints()['marathon']}/v1/campaigns/{marathon.slug}/totals")
        document: dict[str, Any] = answer.json()
        return document


async def test_the_organisation_of_a_campaign_can_be_reached(marathon: Marathon, open_page: OpenPage) -> None:
    page = await open_page(scripts=False)
    await page.goto(marathon.case)
    await page.click("footer >> text=Contact")
    assert "A society to test" in await page.inner_text("main")
    assert await page.locator("main a[href='mailto:write@ngo.example']").count() == 1
    await page.click("footer >> text=Accessibility")
    assert "axe-core" in await page.inner_text("main")


async def test_the_link_in_the_mail_shows_one_button_and_the_button_confirms(
    marathon: Marathon, open_page: OpenPage
) -> None:
    page = await open_page(scripts=False, width=360)
    await page.goto(marathon.case)
    email = marathon.address("confirms")
    await fill_in(page, email)
    await submit(page)
    await page.wait_for_url("**/thanks/**")
    receipt = await page.inner_text(".slip .code")
    text = await wait_for_mail(marathon, email)
    assert receipt in text
    await page.goto(confirmation_link(text))
    assert await page.locator("form").count() == await page.locator("button").count() == 1
    assert "Sample Case" in await page.inner_text("main")
    await page.click("button")
    assert await page.inner_text("h1") == "Thank you. It is confirmed."


async def wait_for_mail(marathon: Marathon, email: str) -> str:
    """Wait for the mail to `email` and return its text."""
    mailbox = Path(marathon.running.endpoints()["mailbox"] or "")

    def text_of_the_mail() -> str | None:
        for file in mailbox.glob("*.eml"):
            mail = message_from_bytes(file.read_bytes(), policy=policy.default)
            text = mail.get_body(("plain",))
            if email in str(mail["To"]) and text is not None:
                return str(text.get_content())
        return None

    return str(await wait_until(text_of_the_mail, DEADLINE_S))


def confirmation_link(text: str) -> str:
    """Return the link to confirm in the text of a mail."""
    match = re.search(r"https?://\S+/confirm/\S+", text)
    assert match is not None
    return match.group()


async def test_the_board_climbs_while_one_watches_and_says_what_sql_says(
    marathon: Marathon, open_page: OpenPage
) -> None:
    board = await open_page(reduced_motion="reduce")
    await board.goto(marathon.board)
    before = int(await board.get_attribute("#count", "data-count") or "")
    for number, country in enumerate(("GB", "GB", "NZ")):
        page = await open_page(scripts=False)
        await page.goto(marathon.case)
        await fill_in(page, marathon.address(f"climbs-{number}"), country)
        await submit(page)
        await page.wait_for_url("**/thanks/**")
    await expect(board.locator("#count")).not_to_have_attribute("data-count", str(before), timeout=DEADLINE_MS)

    async def rows_as_displayed() -> dict[str, int] | None:
        rows = await counted_rows_by_country(marathon)
        return rows if await displayed_countries(board) == rows else None

    rows = await wait_until(rows_as_displayed, DEADLINE_S)
    assert rows["GB"] == 2
    assert rows["NZ"] == 1
    assert int(await board.get_attribute("#count", "data-count") or "") == sum(rows.values())
    static_board = await open_page(scripts=False)
    await static_board.goto(marathon.board)
    assert await displayed_countries(static_board) == rows
    assert await static_board.get_attribute("#m-GB", "d") == await board.get_attribute("#m-GB", "d")


async def displayed_countries(board: Page) -> dict[str, int]:
    """Return the table of countries, with the collapsed rows."""
    countries: dict[str, int] = await board.evaluate(
        """() => Object.fromEntries(
            Array.from(document.querySelectorAll("#countries tr[data-key], #countries-more tr[data-key]"))
            .map((row) => [row.dataset.key, Number(row.cells[1].textContent.replace(/\\D/g, ""))]))"""
    )
    return countries


async def counted_rows_by_country(marathon: Marathon) -> dict[str, int]:
    """Return the number of counted rows by country, in both databases."""
    counts: dict[str, int] = {}
    databases = marathon.running.endpoints()["databases"]
    for database, table in (("petitions", "signatures"), ("letters", "messages")):
        connection = await asyncpg.connect(databases[database])
        try:
            rows = await connection.fetch(
                f"""SELECT d.country, count(*) AS people FROM {table} t JOIN dimensions d ON d.id = t.dimensions
                WHERE d.campaign = $1 AND t.state IN ('r', 'c') AND NOT t.invalidated GROUP BY d.country""",  # noqa: S608
                marathon.slug,
            )
        finally:
            await connection.close()
        for row in rows:
            counts[row["country"]] = counts.get(row["country"], 0) + row["people"]
    return counts

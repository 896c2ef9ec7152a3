"""The live board: it climbs, is never ahead of the totals, and shows when it is out of date."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import OpenPage
from tests.support.page_preview import PreviewState
from tests.support.page_samples import SLUG, correction, totals

BOARD = f"/campaigns/{SLUG}/board"
BOARD_SCRIPT = Path(__file__).with_name("reading.js").read_text()


async def read_board(page: Page) -> dict[str, object]:
    """Return every figure of the board."""
    board: dict[str, object] = await page.evaluate(f"{BOARD_SCRIPT}; readBoard()")
    return board


async def test_the_total_climbs_to_what_was_received_and_is_never_ahead_of_it(
    origin: str, preview_state: PreviewState, open_page: OpenPage
) -> None:
    page = await open_page()
    await page.goto(origin + BOARD)
    await expect(page.locator("#state")).to_have_text("Live")
    await page.evaluate(f"{BOARD_SCRIPT}; watchCount()")
    preview_state.publish(totals(version=next(VERSIONS), public_total=5_154_504))
    await expect(page.locator("#count")).to_have_text("5,154,504")
    counts = await page.evaluate("window.seen")
    assert len(counts) > 3
    assert counts == sorted(counts)
    assert max(counts) == 5_154_504


async def test_with_reduced_motion_the_total_does_not_run(
    origin: str, preview_state: PreviewState, open_page: OpenPage
) -> None:
    page = await open_page(reduced_motion="reduce")
    await page.goto(origin + BOARD)
    await expect(page.locator("#pause")).to_be_visible()
    await page.evaluate(f"{BOARD_SCRIPT}; watchCount()")
    preview_state.publish(totals(version=next(VERSIONS), public_total=5_154_504))
    await expect(page.locator("#count")).to_have_text("5,154,504")
    assert set(await page.evaluate("window.seen")) == {5_154_504}


VERSIONS = itertools.count(1_000)
CHANGES: dict[str, dict[str, object]] = {
    "more of everything": {
        "public_total": 6_600_123,
        "by_case": {"amina-haddad": 650_000, "deniz-arslan": 12},
        "by_country": {"FR": 1_037_743, "GB": 99_999, "TV": 10_090, "AQ": 44, "ZZ": 12, "XK": 9, "other": 31},
        "by_kind": {"letter": 9, "postcard": 4, "signature": 1_000, "other": 2},
        "by_channel": {"in_person": 400, "import": 1, "web": 9},
        "by_language": {"fr": 7, "pt": 900, "en": 8, "other": 3},
        "by_evidence": {"confirmed": 700, "recorded": 1, "offline": 23},
        "withdrawn": 1,
        "corrections": [correction()],
        "rate_per_minute": 4,
    },
    "hardly anything": {
        "public_total": 3,
        "by_case": {},
        "by_country": {"other": 3},
        "by_kind": {"signature": 3},
        "by_channel": {"web": 3},
        "by_language": {"other": 3},
        "by_evidence": {"recorded": 3},
        "withdrawn": 0,
    },
    "behind": {"state": "catching_up", "lag_seconds": 40.2},
    "the final tally": {"state": "frozen", "withdrawn": 412},
}


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("change", CHANGES)
async def test_what_the_stream_draws_is_what_the_server_draws(
    change: str, language: str, origin: str, preview_state: PreviewState, open_page: OpenPage
) -> None:
    live = await open_page(reduced_motion="reduce")
    await live.goto(f"{origin}{BOARD}?lang={language}")
    await expect(live.locator("#pause")).to_be_visible()
    newest = totals(version=next(VERSIONS), **CHANGES[change])
    preview_state.publish(newest)
    number = newest.public_total
    await expect(live.locator("#count")).to_have_attribute("data-count", str(number))
    await expect(live.locator("#state")).to_have_class(STATES[newest.state])
    fresh = await open_page(scripts=False)
    await fresh.goto(f"{origin}{BOARD}?lang={language}")
    streamed, rendered = await read_board(live), await read_board(fresh)
    for part, expected in rendered.items():
        assert streamed[part] == expected, part


STATES = {
    "live": re.compile(r"^state$"),
    "catching_up": re.compile("is-behind"),
    "frozen": re.compile("is-final"),
}


async def test_a_lost_connection_is_said_the_total_stays_and_the_stream_comes_back(
    origin: str, preview_state: PreviewState, open_page: OpenPage
) -> None:
    page = await open_page()
    await page.goto(origin + BOARD)
    await expect(page.locator("#state")).to_have_text("Live")
    preview_state.streaming = False
    state = page.locator("#state")
    await expect(state).to_have_text("Connection lost, trying again")
    await expect(state).to_have_class("state is-cut")
    assert await page.inner_text("#count") == "5,154,004"
    preview_state.publish(totals(version=next(VERSIONS), public_total=5_154_010))
    preview_state.streaming = True
    await expect(page.locator("#count")).to_have_text("5,154,010")
    await expect(state).to_have_text("Live")


async def test_only_the_word_of_the_state_is_announced(origin: str, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(origin + BOARD)
    assert await page.locator("[role=status], [aria-live], [role=alert]").count() == 1
    assert await page.get_attribute("#state", "role") == "status"


async def test_the_final_tally_ends_the_stream(origin: str, preview_state: PreviewState, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(origin + BOARD)
    await expect(page.locator("#state")).to_have_text("Live")
    preview_state.publish(totals(version=next(VERSIONS), state="frozen"))
    await expect(page.locator("#state")).to_have_text("Final tally")
    await expect(page.locator("#pause")).to_be_hidden()
    streams = preview_state.streams
    preview_state.publish(totals(version=next(VERSIONS), public_total=1))
    await page.reload()
    assert preview_state.streams <= streams + 1


async def test_a_board_can_be_paused_and_goes_on_with_the_newest(
    origin: str, preview_state: PreviewState, open_page: OpenPage
) -> None:
    page = await open_page()
    await page.goto(origin + BOARD)
    await page.click("#pause")
    await expect(page.locator("#state")).to_have_text("Paused")
    preview_state.publish(totals(version=next(VERSIONS), public_total=5_154_010))
    assert await page.inner_text("#count") == "5,154,004"
    await page.click("#pause")
    await expect(page.locator("#count")).to_have_text("5,154,010")
    await expect(page.locator("#state")).to_have_text("Live")


async def test_an_older_document_changes_nothing(origin: str, preview_state: PreviewState, open_page: OpenPage) -> None:
    page = await open_page(reduced_motion="reduce")
    await page.goto(origin + BOARD)
    preview_state.publish(totals(version=3_000, public_total=5_154_010))
    await expect(page.locator("#count")).to_have_text("5,154,010")
    preview_state.publish(totals(version=2_999, public_total=5_154_009, rate_per_minute=1))
    await page.wait_for_function("() => true")
    preview_state.publish(totals(version=3_001, public_total=5_154_011, rate_per_minute=2))
    await expect(page.locator("#rate")).to_have_text("2")
    assert await page.inner_text("#count") == "5,154,011"


async def test_without_scripts_the_board_renews_itself_and_can_be_kept_still(origin: str, open_page: OpenPage) -> None:
    page = await open_page(scripts=False)
    await page.goto(origin + BOARD)
    assert await page.locator("meta[http-equiv=refresh]").count() == 1
    await page.goto(origin + BOARD + (await page.get_attribute("noscript a", "href") or ""))
    assert await page.locator("meta[http-equiv=refresh]").count() == 0


async def test_rows_keep_their_places_while_the_numbers_run(
    origin: str, preview_state: PreviewState, open_page: OpenPage
) -> None:
    page = await open_page(reduced_motion="reduce")
    await page.goto(origin + BOARD)
    await expect(page.locator("#state")).to_have_text("Live")
    preview_state.publish(totals(version=next(VERSIONS), rate_per_minute=1))
    await expect(page.locator("#rate")).to_have_text("1")
    before = await page.locator("#countries th[scope=row]").all_inner_texts()
    countries = totals().by_country | {"FR": 4_000_000, "GB": 2_000_000}
    preview_state.publish(totals(version=next(VERSIONS), by_country=countries, rate_per_minute=3))
    await expect(page.locator("#rate")).to_have_text("3")
    assert await page.locator("#countries th[scope=row]").all_inner_texts() == before
    assert "4,000,000" in await page.inner_text("#countries")

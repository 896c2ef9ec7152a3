"""Automatic checks of every page: accessible, never wider than the screen, complete without scripts."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, Response, expect

from tests.e2e.conftest import OpenPage
from tests.support.browser import AXE
from tests.support.page_preview import PreviewState
from tests.support.page_samples import CASE, SLUG, case, correction, totals

BOARD = f"/campaigns/{SLUG}/board"
ADDRESSES = [
    "/",
    f"/campaigns/{SLUG}",
    BOARD,
    f"/cases/{CASE}",
    f"/cases/{CASE}/write",
    f"/letters/print/{CASE}",
    f"/letters/posted/{CASE}",
    "/thanks/posted",
    "/how-we-count",
    "/your-data",
    "/accessibility",
    "/contact",
    "/pages/preferences",
    "/thanks/sample",
    "/nothing-here",
    *(
        f"/pages/{name}"
        for name in (
            "failed", "failed-letter", "failed-posted", "printed", "closed",
            "confirm", "confirmed", "withdraw", "withdrawn", "link-broken", "503",
        )
    ),
]  # fmt: skip
ACTION_ADDRESSES = [
    address for address in ADDRESSES if "cases" in address or "letters" in address or "failed" in address
]


async def violations(page: Page) -> list[str]:
    """Return axe-core's violations of WCAG 2.2 A and AA and of its own best practices."""
    await page.evaluate(AXE.read_text())
    result = await page.evaluate("axe.run().then((result) => result.violations)")
    return [f"{violation['id']}: {node['html'][:200]}" for violation in result for node in violation["nodes"]]


async def horizontal_overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the screen."""
    return int(await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("address", ADDRESSES)
async def test_axe_finds_no_violation(address: str, origin: str, open_page: OpenPage) -> None:
    page = await open_page(reduced_motion="reduce")
    await page.goto(origin + address)
    assert await violations(page) == []
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size({"width": 360, "height": 900})
    assert await violations(page) == []


@pytest.mark.parametrize(("state", "version"), [("catching_up", 813), ("frozen", 814)])
async def test_axe_finds_no_violation_in_any_state_of_the_board(
    state: str, version: int, origin: str, preview_state: PreviewState, open_page: OpenPage
) -> None:
    preview_state.publish(totals(state=state, version=version, corrections=[correction()]))
    for dark in (False, True):
        page = await open_page(dark=dark)
        await page.goto(origin + BOARD)
        for details in await page.locator("details.more:visible").all():
            await details.locator("summary").click()
        assert await violations(page) == []


@pytest.mark.parametrize("address", ADDRESSES)
async def test_no_page_scrolls_sideways(address: str, origin: str, open_page: OpenPage) -> None:
    page = await open_page(scripts=False)
    for language, direction in (("en", "ltr"), ("fr", "ltr"), ("ar", "rtl")):
        await page.goto(f"{origin}{address}?lang={language}")
        assert await page.get_attribute("html", "dir") == direction
        for width in (320, 360, 768, 1440):
            await page.set_viewport_size({"width": width, "height": 900})
            assert await horizontal_overflow(page) == 0, (width, language)


@pytest.mark.parametrize("address", [address for address in ADDRESSES if "/pages/5" not in address])
async def test_the_longest_names_wrap(
    address: str, origin: str, preview_state: PreviewState, open_page: OpenPage
) -> None:
    name = "Maria-Aleksandrovna Konstantinopolskaja-Wolfeschlegelsteinhausenberger"
    for slug in preview_state.samples.cases:
        preview_state.samples.cases[slug] = case(slug, name=name)
    preview_state.publish(totals(version=815))  # so that the board is drawn anew
    page = await open_page(scripts=False)
    await page.goto(origin + address)
    for width in (320, 768, 1440):
        await page.set_viewport_size({"width": width, "height": 900})
        assert await horizontal_overflow(page) == 0, width


@pytest.mark.parametrize("address", ADDRESSES)
async def test_every_page_is_whole_without_scripts(address: str, origin: str, open_page: OpenPage) -> None:
    page = await open_page(scripts=False, width=360)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    await page.goto(origin + address)
    assert await page.locator("h1").count() == 1
    assert await page.locator("h1").inner_text()
    assert all(url.startswith(origin) for url in requested)
    assert not any(url.endswith(".js") for url in requested)


@pytest.mark.parametrize("address", ACTION_ADDRESSES)
async def test_an_action_page_is_light(address: str, origin: str, open_page: OpenPage) -> None:
    page = await open_page(width=360)
    sizes: list[int] = []
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108  a bound method cannot be marked
    await page.goto(origin + address, wait_until="networkidle")
    for answer in answers:
        transfer = await answer.request.sizes()
        sizes.append(transfer["responseBodySize"] + transfer["responseHeadersSize"])
    assert 1_000 < sum(sizes) < 50_000
    assert all(answer.url.startswith(origin) for answer in answers)


async def test_a_letter_prints_on_one_sheet_with_the_address_in_the_window(origin: str, open_page: OpenPage) -> None:
    page = await open_page(width=794, scripts=False)
    await page.goto(f"{origin}/pages/printed")
    assert page_count(await page.pdf(prefer_css_page_size=True)) == 1
    await page.emulate_media(media="print")
    for selector in ("header.top", ".print-help", "footer"):
        assert not await page.locator(selector).is_visible()
    left, top, right, bottom = await box_in_millimetres(page, ".a4 .to")
    assert (left >= 20, top + 0.1 >= 45, right <= 105, bottom <= 92) == (True,) * 4
    assert (await box_in_millimetres(page, ".a4"))[2] == pytest.approx(210, abs=0.5)
    assert (await box_in_millimetres(page, ".a4 .stub"))[3] == pytest.approx(288, abs=1)


async def test_a_long_letter_goes_on_with_margins_and_keeps_its_foot_in_one_piece(
    origin: str, open_page: OpenPage
) -> None:
    page = await open_page(width=794, scripts=False)
    await page.goto(f"{origin}/letters/print/{CASE}")
    await page.fill("#text", "\n\n".join(["A sentence that is long enough to fill a line of the sheet. " * 4] * 14))
    await page.click("text=Put it onto the sheet")
    await expect(page.locator(".a4 .text p")).to_have_count(15)
    assert page_count(await page.pdf(prefer_css_page_size=True)) == 2
    assert await page.input_value("#text") != ""
    assert await page.locator(".a4 .stub").evaluate("(foot) => getComputedStyle(foot).breakInside") == "avoid"


async def test_a_script_only_adds_a_button_that_prints(origin: str, open_page: OpenPage) -> None:
    page = await open_page()
    await page.add_init_script("window.print = () => document.body.dataset.printed = 'yes'")
    await page.goto(f"{origin}/pages/printed")
    await page.click("[data-print]")
    assert await page.get_attribute("body", "data-printed") == "yes"


def page_count(pdf: bytes) -> int:
    """Return the number of pages of a PDF."""
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


async def box_in_millimetres(page: Page, selector: str) -> tuple[float, float, float, float]:
    """Return the edges of an element in millimetres from the upper left: left, top, right, bottom."""
    box = await page.locator(selector).bounding_box()
    assert box is not None
    scale = 25.4 / 96
    left, top = box["x"] * scale, box["y"] * scale
    return left, top, left + box["width"] * scale, top + box["height"] * scale


async def test_the_button_to_sign_is_under_the_thumb_on_a_phone_and_leaves_when_the_form_comes(
    origin: str, open_page: OpenPage
) -> None:
    page = await open_page(width=360)
    await page.goto(f"{origin}/cases/{CASE}")
    button = page.locator(".thumb .btn")
    box = await button.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 900
    assert box["y"] > 700
    assert box["height"] >= 48
    await button.click()
    submit = page.locator("form button[type=submit]")
    await submit.scroll_into_view_if_needed()
    submit_box = await submit.bounding_box()
    assert submit_box is not None
    is_on_top = await submit.evaluate(
        "(button, [x, y]) => document.elementFromPoint(x, y) === button",
        [submit_box["x"] + submit_box["width"] / 2, submit_box["y"] + submit_box["height"] / 2],
    )
    assert is_on_top


async def test_with_the_keyboard_alone_one_reaches_the_form_at_once(origin: str, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(f"{origin}/cases/{CASE}")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.className") == "skip"
    await page.keyboard.press("Enter")
    for _ in range(3):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.tagName") == "INPUT":
            break
    assert await page.evaluate("document.activeElement.name") == "given_name"


async def test_a_failed_form_puts_the_reader_before_what_is_to_mend(origin: str, open_page: OpenPage) -> None:
    page = await open_page(width=360, scripts=False)
    await page.goto(f"{origin}/pages/failed")
    assert await page.evaluate("document.activeElement.id") == "summary"
    await page.locator("#summary a").first.click()
    assert page.url.endswith("#email")


async def test_a_chosen_language_stays_while_one_walks_on(origin: str, open_page: OpenPage) -> None:
    page = await open_page()
    await page.goto(f"{origin}/cases/{CASE}")
    await page.locator(".langs-wide a[lang=fr]").click()
    assert await page.get_attribute("html", "lang") == "fr"
    await page.locator(".rubric a").click()
    assert await page.get_attribute("html", "lang") == "fr"
    assert await page.locator("form").count() == 0


async def test_a_name_typed_once_is_there_for_the_next_case_and_consent_is_not(
    origin: str, open_page: OpenPage
) -> None:
    page = await open_page()
    await page.goto(f"{origin}/cases/{CASE}")
    await page.fill("#given_name", "Ana")
    await page.fill("#email", "ana@example.org")
    await page.check("#privacy")
    await page.click("form button[type=submit]")
    await page.wait_for_url("**/thanks/**")
    assert await page.locator(".ten .is-done").count() == 1
    await page.click(".nextcase .btn")
    assert await page.input_value("#given_name") == "Ana"
    assert not await page.is_checked("#privacy")

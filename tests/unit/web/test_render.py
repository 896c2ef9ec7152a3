"""Pages: complete in every language and state, safe, light, and compatible with a strict policy."""

from __future__ import annotations

import gzip
import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from deploy.local.home import PROJECT
from shared.clock import parse_rfc3339
from shared.events.marathon import Policies
from shared.settings import ServiceSettings
from shared.web.formats import formats_for
from shared.web.languages import Language, direction, offered_languages
from shared.web.pages import Pages, content_security_policy, paragraphs
from shared.web.static_files import IMMUTABLE_CACHE_CONTROL
from shared.web.views.acts import thanks_view, token_view
from shared.web.views.board import board_view
from shared.web.views.campaigns import campaign_view, home_view
from shared.web.views.cases import case_view
from shared.web.views.contacts import contact_view
from shared.web.views.forms import FormState
from shared.web.views.sheets import sheet_view
from tests.support.page_samples import (
    CASE,
    NOW,
    SAMPLE_CASES,
    SLUG,
    campaign,
    case,
    correction,
    minutes,
    sample_catalog,
    totals,
)

ORIGINS = ServiceSettings(
    database_url="",
    port=0,
    marathon_url="https://act.example",
    petitions_url="https://sign.example",
    letters_url="https://write.example",
    notifications_url="https://mail.example",
)
PAGES = Pages(service="petitions", origins=ORIGINS, folder=PROJECT / "services" / "petitions")
LANGUAGES = [Language(code, chosen=True) for code in offered_languages()] + [Language("ar")]
MARKUP = "<script>alert(1)</script>\"'>&"
FORM_ERRORS = (
    ("/email", "email.invalid"),
    ("/given_name", "given_name.formula"),
    ("/consent/privacy", "consent.privacy.required"),
)


def render(template: str, language: Language, **view: Any) -> str:
    return PAGES.render(template, language, languages=("en", "fr"), **view)


def render_every_page(language: Language) -> dict[str, str]:
    """Render each page in each of its states."""
    code = language.code
    catalog = sample_catalog()
    pages = {
        "home": render("home.html", language, view=home_view(catalog, now=NOW, language=code)),
        "campaign": render("campaign.html", language, view=campaign_view(catalog, SLUG, now=NOW, language=code)),
        "how we count": render("how-we-count.html", language),
        "accessibility": render("accessibility.html", language),
        "contact": render("contact.html", language, view=contact_view(catalog, now=NOW, language=code)),
        "your data": render("your-data.html", language),
        "link broken": render("link-broken.html", language),
    }
    for name, moment in {"open": NOW, "before": NOW - 10**7, "closed": NOW + 10**7}.items():
        view = case_view(catalog, CASE, now=moment, language=code)
        pages[f"case {name}"] = render("case.html", language, view=view)
        pages[f"write {name}"] = render("write.html", language, view=view)
        pages[f"posted {name}"] = render("posted.html", language, view=view)
    form = FormState({"given_name": MARKUP, "email": MARKUP, "country": "FR", "text": MARKUP}, FORM_ERRORS)
    pages["case failed"] = render(
        "case.html", language, view=case_view(catalog, CASE, now=NOW, language=code, form=form)
    )
    pages["write failed"] = render(
        "write.html", language, view=case_view(catalog, CASE, now=NOW, language=code, form=form)
    )
    pages["posted failed"] = render(
        "posted.html",
        language,
        view=case_view(
            catalog, CASE, now=NOW, language=code, form=FormState({"code": MARKUP}, (("/code", "code.invalid"),))
        ),
    )
    pages["closed"] = render("closed.html", language, view=case_view(catalog, CASE, now=NOW, language=code))
    for status in (400, 404, 410, 413, 415, 429, 500, 503):
        pages[f"problem {status}"] = render("problem.html", language, view={"status": status, "retry_after": 2})
    filled = FormState({"given_name": MARKUP, "sender": MARKUP, "text": f"{MARKUP}\n\n{MARKUP}", "language": "ar"})
    for name, form in {"empty": FormState(), "filled": filled}.items():
        view_of_sheet = sheet_view(
            catalog, CASE, form, code="C", report_url="https://w.example/p", now=NOW, language=code
        )
        pages[f"sheet {name}"] = render("sheet.html", language, view=view_of_sheet)
    for kind, posted in (("signature", False), ("letter", True), ("letter", False)):
        view_of_thanks = thanks_view(
            catalog,
            CASE,
            kind=kind,  # type: ignore[arg-type]
            posted=posted,
            receipt="R",
            status_address="/v1/signatures/R",
            counted=kind == "letter",
            as_of="2026-12-01T12:00:00Z",
            now=NOW,
            language=code,
        )
        pages[f"thanks {kind}{' posted' * posted}"] = render("thanks.html", language, view=view_of_thanks)
        for template in ("confirm", "confirmed", "withdraw", "withdrawn"):
            for many in (0, 1, 2):
                acts = [(slug, kind) for slug, *_ in SAMPLE_CASES[:many]]
                view_of_token = token_view(catalog, acts, action="/confirm/T", now=NOW, language=code)  # type: ignore[arg-type]
                pages[f"{template} {kind} {many}"] = render(f"{template}.html", language, view=view_of_token)
    for state in ("live", "catching_up", "frozen"):
        catalog.totals[SLUG] = totals(state=state, corrections=[correction()])
        view_of_board = board_view(catalog, SLUG, minutes(), now=NOW, language=code)
        pages[f"board {state}"] = render("board.html", language, view=view_of_board, refresh=True)
    catalog.totals[SLUG] = totals(
        by_case={}, by_country={}, by_kind={}, by_channel={}, by_language={}, by_evidence={}, public_total=0
    )
    catalog.campaigns[SLUG] = campaign(goal=None)
    view_of_board = board_view(catalog, SLUG, now=NOW, language=code)
    pages["board empty"] = render("board.html", language, view=view_of_board, refresh=True)
    return pages


@pytest.fixture(scope="module", params=LANGUAGES, ids=lambda language: language.code)
def texts(request: pytest.FixtureRequest) -> dict[str, str]:
    return render_every_page(request.param)


VOID = {"meta", "link", "input", "img", "br", "hr"}


class ParsedPage(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_every_page_is_well_formed_and_names_its_language(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        page = ParsedPage(text)
        assert page.open == [], name
        [html] = page.all("html")
        assert html["dir"] == ("rtl" if html["lang"] == "ar" else "ltr"), name
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), name


def test_no_page_holds_an_inline_script_or_style_or_a_third_party(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        page = ParsedPage(text)
        for tag, attributes in page.tags:
            assert tag != "style", name
            assert not any(key == "style" or key.startswith("on") for key in attributes), (name, attributes)
            source = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
            if source and attributes.get("rel") != "canonical":
                assert source.startswith("/static/petitions/"), (name, source)
        assert all("src" in attributes for attributes in page.all("script")), name


def test_what_people_typed_is_never_markup(texts: dict[str, str]) -> None:
    for name in ("case failed", "write failed", "sheet filled"):
        assert "<script>alert" not in texts[name]
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in texts[name]


def test_every_label_has_its_field_and_every_reference_its_target(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        page = ParsedPage(text)
        ids = {attributes.get("id") for _, attributes in page.tags}
        for tag, attributes in page.tags:
            for key in ("for", "aria-describedby", "aria-labelledby"):
                for target in (attributes.get(key) or "").split():
                    assert target in ids, (name, key, target)
            link = attributes.get("href") or ""
            if tag in {"a", "use"} and link.startswith("#"):
                assert link[1:] in ids, (name, link)


def test_a_failed_form_keeps_what_was_typed_and_links_every_error_to_its_field() -> None:
    catalog = sample_catalog()
    form = FormState(
        {"given_name": "Ana", "family_name": "Díaz", "email": "ana.example", "country": "FR", "updates": "on"},
        FORM_ERRORS,
    )
    page = ParsedPage(
        render("case.html", Language("en"), view=case_view(catalog, CASE, now=NOW, language="en", form=form))
    )
    fields = {attributes["name"]: attributes for attributes in page.all("input") if "name" in attributes}
    assert fields["family_name"]["value"] == "Díaz"
    assert fields["email"]["value"] == "ana.example"
    assert "checked" in fields["updates"]
    assert "checked" not in fields["privacy"]
    assert [option["value"] for option in page.all("option") if "selected" in option] == ["FR"]
    links = [attributes["href"] for attributes in page.all("a")]
    for name in ("given_name", "email", "privacy"):
        assert f"#{name}" in links
        assert fields[name]["aria-invalid"] == "true"
        assert f"{name}-wrong" in (fields[name]["aria-describedby"] or "")
    assert "aria-invalid" not in fields["family_name"]


def test_the_form_to_sign_says_what_the_contract_names() -> None:
    page = ParsedPage(
        render("case.html", Language("fr"), view=case_view(sample_catalog(), CASE, now=NOW, language="fr"))
    )
    [form] = page.all("form")
    assert (form["method"], form["action"]) == ("post", "https://sign.example/v1/signatures")
    fields = {attributes["name"] for tag in ("input", "select") for attributes in page.all(tag) if "name" in attributes}
    assert fields == {
        "petition", "locale", "given_name", "family_name", "email", "country", "privacy", "updates", "public_name",
    }  # fmt: skip
    hidden = {
        attributes["name"]: attributes["value"]
        for attributes in page.all("input")
        if attributes.get("type") == "hidden"
    }
    assert hidden == {"petition": f"free-{CASE}", "locale": "fr"}
    assert not any("checked" in attributes for attributes in page.all("input"))


def test_the_form_to_write_says_what_the_contract_names() -> None:
    page = ParsedPage(
        render("write.html", Language("en"), view=case_view(sample_catalog(), CASE, now=NOW, language="en"))
    )
    [form] = page.all("form")
    assert form["action"] == "https://write.example/v1/messages"
    names = {attributes.get("name") for tag in ("input", "select", "textarea") for attributes in page.all(tag)}
    assert {"case", "kind", "text", "language", "locale", "given_name", "family_name", "email", "privacy"} <= names
    assert {attributes["value"] for attributes in page.all("input") if attributes.get("type") == "radio"} == {
        "letter",
        "solidarity_message",
    }


def test_the_form_to_write_can_be_printed_instead_where_there_is_an_address() -> None:
    catalog = sample_catalog()
    page = ParsedPage(
        render("write.html", Language("fr", chosen=True), view=case_view(catalog, CASE, now=NOW, language="fr"))
    )
    [button] = [button for button in page.all("button") if "formaction" in button]
    assert button["formaction"] == f"https://write.example/letters/print/{CASE}?lang=fr"
    catalog.cases[CASE] = case(address=None)
    text = render("write.html", Language("fr"), view=case_view(catalog, CASE, now=NOW, language="fr"))
    assert "/letters/print/" not in text


@pytest.mark.parametrize("template", ["case.html", "write.html"])
def test_a_case_that_takes_no_letters_tells_no_address(template: str) -> None:
    catalog = sample_catalog()
    catalog.cases[CASE] = case(accepts_messages=False)
    text = render(template, Language("en"), view=case_view(catalog, CASE, now=NOW, language="en"))
    assert "/letters/print/" not in text


@pytest.mark.parametrize("template", ["confirm.html", "withdraw.html"])
def test_the_button_of_a_link_answers_in_the_language_that_the_link_chose(template: str) -> None:
    def action(language: Language) -> str | None:
        view = token_view(sample_catalog(), [(CASE, "signature")], action="/T", now=NOW, language=language.code)
        forms = ParsedPage(render(template, language, view=view)).all("form")
        return next(form["action"] for form in forms if form.get("method") == "post")

    assert action(Language("fr", chosen=True)) == "/T?lang=fr"
    assert action(Language("fr")) == "/T"


def sheet(page: str = "en", **typed: str) -> str:
    """Render the sheet with the `typed` fields, with whitespace collapsed."""
    report = f"https://write.example/letters/posted/{CASE}"
    view = sheet_view(
        sample_catalog(), CASE, FormState(typed), code="7KQ4-M2XD-9FJ4", report_url=report, now=NOW, language=page
    )
    text = render("sheet.html", Language(page), view=view)
    return " ".join(text[text.index("<article") : text.index("</article")].split())


def test_a_sheet_holds_the_letter_in_its_own_language_and_direction() -> None:
    text = sheet(text="Dear friend,\r\nhello.\r\n\r\n\r\nYours", language="ar", given_name="Ana", family_name="Díaz")
    assert '<div class="text" lang="ar" dir="rtl">' in text
    assert "<p>Dear friend, hello.</p> <p>Yours</p>" in text
    assert "ديسمبر" in text
    assert ">Ana Díaz</address>" in text


def test_a_language_that_no_form_offers_is_not_put_onto_the_sheet_and_not_remembered() -> None:
    default_sheet = sheet(text="Dear friend")
    cache_sizes = formats_for.cache_info().currsize, direction.cache_info().currsize
    for number in range(50):
        for made_up in (f"x{number}", f"fr@made{number}", f"fr-x-{number}", "é" * number):
            assert sheet(text="Dear friend", language=made_up) == default_sheet
    assert (formats_for.cache_info().currsize, direction.cache_info().currsize) == cache_sizes


def test_an_address_is_in_its_own_language_with_the_country_as_post_offices_read_it() -> None:
    assert '<span lang="ru" dir="auto">Фамилии Имени Отчеству<br>' in sheet()
    assert '<span class="latin" dir="ltr">ALGÉRIE</span>' in sheet("fr")
    assert '<span class="latin" dir="ltr">الجزائر · ALGERIA</span>' in sheet("ar")


def test_the_page_of_contacts_says_how_each_organisation_is_reached() -> None:
    catalog = sample_catalog()
    catalog.campaigns["second"] = campaign(slug="second", closes="2027-02-01T00:00:00Z")
    catalog.campaigns["silent"] = campaign(slug="silent", organisation="A silent one", contact=None)
    text = render("contact.html", Language("fr"), view=contact_view(catalog, now=NOW, language="fr"))
    page = ParsedPage(text)
    links = [attributes["href"] for attributes in page.all("a")]
    assert links.count("mailto:write@ngo.example") == 1
    assert "https://ngo.example/privacy" in links
    assert "L’organisation est inscrite à Exemple." in text
    assert "1 Example Street\n00000 Example" in text
    assert links.index("https://act.example/campaigns/second") < links.index("https://act.example/campaigns/silent")
    assert text.count("Aucune adresse n’est encore donnée ici.") == 1


def test_every_page_leads_to_the_contacts_and_the_accessibility_statement(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        links = {(attributes["href"] or "").partition("?")[0] for attributes in ParsedPage(text).all("a")}
        assert {"https://act.example/contact", "https://act.example/accessibility"} <= links, name


def test_the_foot_says_where_to_tell_that_the_letter_is_posted() -> None:
    text = sheet()
    assert f'<strong dir="ltr">write.example/letters/posted/{CASE}</strong>' in text
    assert ">7KQ4-M2XD-9FJ4</p>" in text
    assert 'class="qr"' in text


def test_the_form_to_tell_of_a_letter_asks_for_no_text_and_promises_no_mail() -> None:
    text = render("posted.html", Language("en"), view=case_view(sample_catalog(), CASE, now=NOW, language="en"))
    page = ParsedPage(text)
    [form] = page.all("form")
    assert form["action"] == "https://write.example/v1/messages/posted"
    names = {attributes.get("name") for tag in ("input", "select", "textarea") for attributes in page.all(tag)}
    assert {"case", "kind", "code", "language", "given_name", "family_name", "email", "country", "privacy"} <= names
    assert "text" not in names
    thanks = render_every_page(Language("en"))["thanks letter posted"]
    assert "An e-mail with one button" not in thanks
    assert "self-reported" in thanks


def test_an_empty_sheet_has_lines_to_write_on_and_the_rules_of_the_place() -> None:
    text = sheet("fr")
    assert '<ul class="ruled"' in text
    assert "<li>2 pages au plus, sans agrafes</li>" in text
    assert "Langue : Russe" in text
    assert 'class="back"' not in text


def test_a_language_that_nobody_knows_does_not_keep_a_letter_from_being_printed() -> None:
    assert "<p>Hello</p>" in sheet(text="Hello", language="../xx")


@pytest.mark.parametrize("moment", ["2026-11-01T00:00:00Z", "2027-02-01T00:00:00Z"])
def test_nothing_can_be_sent_while_a_campaign_is_not_open(moment: str) -> None:
    view = case_view(sample_catalog(), CASE, now=parse_rfc3339(moment), language="en")
    for template in ("case.html", "write.html"):
        assert not ParsedPage(render(template, Language("en"), view=view)).all("form")


def test_a_case_in_safety_mode_never_offers_to_show_a_name() -> None:
    catalog = sample_catalog()
    policies = catalog.campaigns[SLUG].policies.__class__(safety_mode=True, confirmation="required")
    catalog.campaigns[SLUG] = campaign(policies=policies)
    text = render("case.html", Language("en"), view=case_view(catalog, CASE, now=NOW, language="en"))
    assert "public_name" not in text


def test_a_story_in_another_language_says_which() -> None:
    catalog = sample_catalog()
    catalog.cases[CASE] = case(story={"be": "Ліст"})
    text = render("case.html", Language("fr"), view=case_view(catalog, CASE, now=NOW, language="fr"))
    assert '<div class="story" lang="be" dir="auto">' in text


def test_links_keep_a_language_that_was_chosen_and_only_that() -> None:
    view = case_view(sample_catalog(), CASE, now=NOW, language="fr")
    assert f"https://act.example/cases/{CASE}/write?kind=letter&amp;lang=fr" in render(
        "case.html", Language("fr", chosen=True), view=view
    )
    assert f'https://act.example/cases/{CASE}/write?kind=letter"' in render("case.html", Language("fr"), view=view)


def test_a_form_that_came_back_offers_its_languages_at_the_page_of_the_form() -> None:
    view = case_view(sample_catalog(), CASE, now=NOW, language="en")
    text = render("case.html", Language("en"), view=view, address=f"https://act.example/cases/{CASE}")
    assert f'href="https://act.example/cases/{CASE}?lang=fr"' in text


def test_what_is_shared_with_others_names_no_language_and_no_receipt() -> None:
    text = render_every_page(Language("fr", chosen=True))["thanks signature"]
    assert f'value="https://act.example/cases/{CASE}"' in text
    assert "https://wa.me/?text=https%3A//act.example" in text


async def fetch(address: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(Starlette(routes=PAGES.routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.get(address, headers=headers)


async def test_a_first_view_of_an_action_page_is_under_50_kb() -> None:
    catalog = sample_catalog()
    for template, view in (
        ("case.html", case_view(catalog, CASE, now=NOW, language="fr")),
        ("write.html", case_view(catalog, CASE, now=NOW, language="fr")),
    ):
        text = render(template, Language("fr"), view=view)
        page = ParsedPage(text)
        sources = {attributes["href"] for attributes in page.all("link") if attributes["rel"] in {"stylesheet", "icon"}}
        sources |= {attributes["src"] for attributes in page.all("script")}
        parts = [(await fetch(str(source))).content for source in sources]
        assert sum(len(gzip.compress(part)) for part in (text.encode(), *parts)) < 20_000
        assert len(text.encode()) + sum(map(len, parts)) < 64_000


def test_a_page_lets_nothing_in_and_forms_out_only_to_our_services() -> None:
    policy = dict(part.strip().split(" ", 1) for part in content_security_policy(ORIGINS).split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["img-src"] == "'self'"
    assert policy["form-action"].split() == [
        "'self'",
        "https://sign.example",
        "https://write.example",
        "https://mail.example",
    ]
    assert "unsafe" not in content_security_policy(ORIGINS)
    assert PAGES.headers(Language("en"))["Referrer-Policy"] == "no-referrer"
    assert PAGES.headers(Language("en"), store=False)["Cache-Control"] == "no-store"


async def test_static_files_are_kept_for_ever_under_the_hash_of_their_content() -> None:
    address = PAGES.static.address("page.css")
    assert re.fullmatch(r"/static/petitions/page\.[\w-]{12}\.css", address)
    answer = await fetch(address, **{"Accept-Encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == IMMUTABLE_CACHE_CONTROL
    assert answer.headers["content-encoding"] == "gzip"
    assert "--rubric" in answer.text
    plain = await fetch(address, **{"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == answer.text
    assert (await fetch("/static/petitions/page.css")).status_code == 404
    assert (await fetch("/static/petitions/..%2f..%2fpages.py")).status_code == 404


def test_blank_lines_part_paragraphs() -> None:
    assert paragraphs("One\nline.\r\n\r\n\n Two. \n\n") == ["One line.", "Two."]


def test_in_safety_mode_the_board_shows_neither_a_rate_nor_minutes() -> None:
    catalog = sample_catalog()
    policies = Policies(confirmation="required", public_evidence=("confirmed",), safety_mode=True)
    for chosen, hidden in ((Policies(), False), (policies, True)):
        catalog.campaigns[SLUG] = campaign(policies=chosen)
        view = board_view(catalog, SLUG, now=NOW, language="en")
        page = render("board.html", LANGUAGES[0], view=view, refresh=True)
        assert ('<div hidden><dt id="rate-label">' in page) is hidden
        assert ('id="minutes" aria-labelledby="rate-h" hidden' in page) is hidden

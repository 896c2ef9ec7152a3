"""The content and form of a mail: headers, encodings, wording, names that strangers typed."""

from __future__ import annotations

import re
import string
from base64 import b64decode
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from pathlib import Path

import msgspec
import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from hypothesis import example, given
from hypothesis import strategies as st

from services.notifications.domain.recipient_keys import RecipientKeys
from services.notifications.mailings.confirmation.definition import CONFIRMATION
from services.notifications.sender.compose.composing import Composer
from services.notifications.sender.compose.mime import build_message, clean, encode_header, format_address
from services.notifications.sender.compose.wording import (
    TRANSLATIONS,
    choose_language,
    display_name,
    localize,
)
from services.notifications.settings import EXAMPLE_SENDER, Settings
from services.notifications.storage.mails import CoveredDelivery, LeasedMail
from shared.catalog import Catalog
from shared.errors import PermanentError, TransientError
from shared.events.marathon import CampaignChanged, CaseChanged, Contact, Petition, Policies
from shared.events.values import Kind
from shared.kafka.record_ref import RecordRef
from shared.privacy import tokens
from shared.privacy.keys import CampaignKeys
from shared.privacy.receipts import short_receipt
from shared.privacy.sealing import Person, Sealer
from shared.web.languages import TRANSLATIONS_FOLDER, load_messages, offered_languages

AT = datetime(2026, 12, 1, 12, tzinfo=UTC)
SEALER = Sealer(bytes(range(32)))
RECIPIENT_KEYS = RecipientKeys(bytes(32))


def parse(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=policy.default)


def message_with_headers(*headers: tuple[str, str]) -> EmailMessage:
    return parse(build_message(headers, text="text", html="html", boundary="=b="))


@given(st.text(max_size=300))
def test_no_subject_can_add_a_header_or_break_the_message(text: str) -> None:
    mail = message_with_headers(("Subject", encode_header("Subject", text)), ("X-Last", "here"))
    assert set(mail.keys()) == {"Subject", "X-Last", "MIME-Version", "Content-Type"}
    assert mail["X-Last"] == "here"


@given(st.text(max_size=100))
def test_no_name_can_add_a_header_or_a_recipient(name: str) -> None:
    mail = message_with_headers(("To", format_address("To", name, "ana@example.org")))
    assert set(mail.keys()) == {"To", "MIME-Version", "Content-Type"}
    assert [address.addr_spec for address in mail["To"].addresses] == ["ana@example.org"]


@given(st.text(string.ascii_letters + "éÀß漢字ع' -", min_size=1, max_size=60))
@example("A" * 36 + "ÀÀ字字")
def test_an_ordinary_name_arrives_as_it_was_typed(name: str) -> None:
    # The parser of Python 3.11 keeps the blank between two encoded words of a long name, against RFC 2047, 6.2.
    shown = str(make_header(decode_header(format_address("To", name, "ana@example.org"))))
    assert shown == (f"{clean(name)} <ana@example.org>" if clean(name) else "ana@example.org")


@given(st.text(max_size=500), st.text(max_size=500))
def test_both_parts_arrive_whatever_they_hold(text: str, html: str) -> None:
    raw = build_message([("Subject", "s")], text=f"{text}\nend", html=f"{html}<p>end</p>", boundary="=boundary=")
    mail = parse(raw)
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    assert all(part.get_content().rstrip().endswith(("end", "end</p>")) for part in mail.iter_parts())


def test_long_lines_and_every_script_survive() -> None:
    text = f"https://ngo.example/{'x' * 5_000}\nпривет العربية"
    mail = parse(build_message([("Subject", "s")], text=text, html=f"<p>{text}</p>", boundary="=b="))
    plain, html = mail.iter_parts()
    assert plain.get_content().replace("\r\n", "\n").strip() == text
    assert "x" * 5_000 in html.get_content()


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("Ana", "Ana"),
        ("  Ana\u200b María ", "Ana María"),
        ("O'Neill", "O'Neill"),
        ("J. R.", "J. R."),
        ("https://evil.example", ""),
        ("evil.example", ""),
        ("www.evil", ""),
        ("call 555 1234", ""),
        ("ana@example.org", ""),
        ("<b>Ana</b>", ""),
        ("Buy now " * 10, ""),
        ("Ana\r\nBcc: x", ""),
    ],
)
def test_a_name_is_shown_unless_it_may_be_a_strangers_message(typed: str, shown: str) -> None:
    assert display_name(typed) == shown


def test_a_mail_is_written_in_the_persons_language_else_in_the_campaigns_else_in_english() -> None:
    assert {"en", "fr"} <= set(offered_languages(TRANSLATIONS))
    assert choose_language("fr-CA", ("en",)) == "fr"
    assert choose_language("tlh", ("fr", "en")) == "fr"
    assert choose_language("tlh", ("tlh",)) == "en"
    assert localize({"fr": "oui"}, "en") == "oui"
    assert localize({}, "en") == ""


@pytest.fixture
def catalog() -> Catalog:
    catalog = Catalog("nowhere:1")
    campaign = CampaignChanged(
        slug="w4r",
        version=1,
        title={"en": "Write"},
        opens="2026-11-20T00:00:00Z",
        closes="2027-01-01T00:00:00Z",
        confirmations_close="2027-01-08T00:00:00Z",
        goal=None,
        languages=("en", "fr"),
        policies=Policies(),
        cases=("khaled", "nadia"),
        organisation="The Society",
    )
    catalog.campaigns = {"w4r": campaign, "safe": in_safety_mode(campaign)}
    catalog.cases = {
        slug: CaseChanged(
            slug=slug,
            version=1,
            campaign="w4r",
            name=name,
            country="DZ",
            status="detained",
            story={},
            petition=Petition(slug=f"free-{slug}", version=1, title={"en": f"Free {name}!"}, text={"en": "x"}),
        )
        for slug, name in (("khaled", "Khaled Drareni"), ("nadia", "Nadia & <Co>"))
    }
    keys = CampaignKeys(dedupe=bytes(32), token=bytes(32), seal={1: SEALER}, current_seal=1)
    catalog.keys = {"w4r": keys, "safe": keys}
    return catalog


def in_safety_mode(campaign: CampaignChanged) -> CampaignChanged:
    fields = {name: getattr(campaign, name) for name in campaign.__struct_fields__}
    return CampaignChanged(**{**fields, "slug": "safe", "policies": Policies(safety_mode=True)})


@pytest.fixture
def composer(catalog: Catalog, tmp_path: Path) -> Composer:
    settings = Settings(
        environment="development",
        database_url="postgresql://nowhere",
        wrapping_private_key_file=tmp_path / "none",
        recipient_key_file=tmp_path / "none",
    )
    return Composer([CONFIRMATION], catalog, RECIPIENT_KEYS, settings)


def covered_delivery(
    offset: int,
    *,
    campaign: str = "w4r",
    case: str = "khaled",
    kind: Kind = "signature",
    key: bytes | None = None,
    other_data: bool = False,
    name: tuple[str, str] = ("Ana", "Díaz"),
    email: str = "ana@example.org",
) -> CoveredDelivery:
    key = key or offset.to_bytes(16, "big")
    person = Person(given_name=name[0], family_name=name[1], email=email)
    return CoveredDelivery(
        record=RecordRef("topic", 0, offset),
        campaign=campaign,
        case=case,
        subject=f"free-{case}",
        kind=kind,
        key=key,
        digest=bytes(16),
        other_data=other_data,
        accepted_at=AT,
        locale="en",
        sealed=b64decode(SEALER.seal(person, topic="topic", subject=f"free-{case}", key=key)),
        seal_key=1,
    )


def leased_mail(*deliveries: CoveredDelivery) -> LeasedMail:
    return LeasedMail(
        bytes(16), CONFIRMATION.name, RECIPIENT_KEYS.recipient_key("ana@example.org"), AT, 1, False, AT, deliveries
    )


def compose(composer: Composer, *deliveries: CoveredDelivery) -> EmailMessage:
    return parse(composer.compose(leased_mail(*deliveries)).content)


def plain_text(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def test_the_same_mail_is_the_same_at_every_attempt(composer: Composer) -> None:
    mail = leased_mail(covered_delivery(1), covered_delivery(2, case="nadia"))
    assert composer.compose(mail) == composer.compose(at_later_attempt(mail))


def at_later_attempt(mail: LeasedMail) -> LeasedMail:
    return mail._replace(attempts=7, deliveries=tuple(reversed(mail.deliveries)), lease_until=AT.replace(hour=20))


def test_a_mail_about_one_act_says_what_it_was(composer: Composer) -> None:
    kinds: dict[Kind, str] = {
        "signature": 'You signed "Free Khaled Drareni!" on 1 December 2026.',
        "letter": "You wrote a letter to Khaled Drareni on 1 December 2026.",
        "postcard": "You wrote a postcard to Khaled Drareni on 1 December 2026.",
        "drawing": "You sent a drawing to Khaled Drareni on 1 December 2026.",
        "solidarity_message": "You wrote a message to Khaled Drareni on 1 December 2026.",
    }
    for kind, sentence in kinds.items():
        assert sentence in plain_text(compose(composer, covered_delivery(1, kind=kind)))


def test_a_mail_names_the_receipt_of_each_act_as_the_thank_you_page_does(composer: Composer) -> None:
    first, second = (short_receipt(bytes(32), "topic", 0, offset) for offset in (1, 2))
    mail = compose(composer, covered_delivery(1))
    assert f"Your receipt is {first}." in plain_text(mail)
    body = mail.get_body(("html",))
    assert body is not None
    assert first in body.get_content()
    both = plain_text(compose(composer, covered_delivery(1), covered_delivery(2, case="nadia")))
    assert f'You signed "Free Khaled Drareni!" on 1 December 2026. Receipt {first}.' in both
    assert f"Receipt {second}." in both
    assert "Your receipt is" not in both


def test_every_sentence_of_a_mail_is_in_the_catalogues() -> None:
    with (TRANSLATIONS_FOLDER / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    extracted = {
        message[2][0] if isinstance(message[2], tuple) else message[2]
        for message in extract_from_dir(TRANSLATIONS.parent, methods, options)
    }
    assert "As %(name)s." in extracted
    for code in set(offered_languages(TRANSLATIONS)) - {"en"}:
        ids = (entry.id for entry in load_messages(code, TRANSLATIONS) if entry.id)
        assert {entry_id[0] if isinstance(entry_id, (tuple, list)) else entry_id for entry_id in ids} == extracted


def test_the_foot_of_a_mail_holds_the_organisations_postal_address(composer: Composer, catalog: Catalog) -> None:
    contact = Contact(address=("The Society", "1 Example Street"))
    catalog.campaigns = {"w4r": msgspec.structs.replace(catalog.campaigns["w4r"], contact=contact)}
    mail = compose(composer, covered_delivery(1))
    body = mail.get_body(("html",))
    assert body is not None
    assert "The Society, 1 Example Street" in plain_text(mail)
    assert "The Society, 1 Example Street" in body.get_content()


def test_what_people_wrote_cannot_become_markup(composer: Composer) -> None:
    body = compose(composer, covered_delivery(1, case="nadia")).get_body(("html",))
    assert body is not None
    assert "Free Nadia &amp; &lt;Co&gt;!" in body.get_content()


def test_in_safety_mode_neither_subject_nor_preview_names_the_case(composer: Composer) -> None:
    mail = compose(composer, covered_delivery(1, campaign="safe"))
    body = mail.get_body(("html",))
    assert body is not None
    assert "Drareni" not in str(mail["Subject"])
    assert "Drareni" not in body.get_content().partition("</h1>")[0]


def test_where_names_differ_nobody_is_greeted_by_name(composer: Composer) -> None:
    mail = compose(composer, covered_delivery(1), covered_delivery(2, case="nadia", name=("Bob", "Díaz")))
    assert "One step is left." in plain_text(mail)
    assert mail["To"] == "ana@example.org"


def test_every_button_has_its_links(composer: Composer) -> None:
    same = bytes(15) + b"1"
    mail = compose(
        composer,
        covered_delivery(1, key=same),
        covered_delivery(2, case="nadia"),
        covered_delivery(3, kind="letter"),
        covered_delivery(4, key=same, other_data=True, name=("Bob", "Smith")),
    )
    text = plain_text(mail)
    assert text.count("http://127.0.0.1:8101/confirm/") == 2
    assert text.count("http://127.0.0.1:8102/letters/confirm/") == 1
    assert text.count("/withdraw/") == 2
    assert "Confirm my 2 signatures." in text
    assert "Confirm my message." in text
    assert "Confirm it as Bob Smith." in text
    assert "As Ana Díaz." in text
    assert mail["Subject"] == "Please confirm: 4 acts wait for you"


def withdrawn_keys(mail: EmailMessage) -> set[bytes]:
    """Return the keys of the acts that the links of `mail` withdraw."""
    body = mail.get_body(("html",))
    assert body is not None
    texts = re.findall(r"/withdraw/([\w.-]+)", plain_text(mail) + body.get_content())
    return {act.key for text in texts for act in tokens.read(text, bytes(32)).acts}


def test_a_strangers_version_offers_nobody_to_take_away_the_persons_own_act(composer: Composer) -> None:
    own_key, other_key = bytes(15) + b"1", bytes(15) + b"2"
    stranger = covered_delivery(4, key=own_key, other_data=True, name=("Bob", "Smith"))
    alone = compose(composer, stranger)
    assert withdrawn_keys(alone) == set()
    assert "/confirm/" in plain_text(alone)
    assert "this version has no effect" in " ".join(plain_text(alone).split())
    assert withdrawn_keys(compose(composer, covered_delivery(2, key=other_key), stranger)) == {other_key}


def test_links_open_pages_in_the_language_of_the_mail(composer: Composer) -> None:
    mail = compose(
        composer, covered_delivery(1)._replace(locale="fr"), covered_delivery(2, kind="letter")._replace(locale="fr")
    )
    urls = re.findall(r"http\S+", plain_text(mail))
    assert len(urls) == 6
    assert all(link.endswith("?lang=fr") for link in urls)


def test_what_cannot_be_opened_or_addressed_is_refused_for_good(composer: Composer) -> None:
    for bad in (
        covered_delivery(1)._replace(sealed=bytes(60)),
        covered_delivery(1, email="ana"),
        covered_delivery(1, email="a b@x.org"),
    ):
        with pytest.raises(PermanentError):
            composer.compose(leased_mail(bad))


def test_what_the_catalog_does_not_hold_yet_is_tried_again(composer: Composer, catalog: Catalog) -> None:
    for missing in (
        covered_delivery(1, campaign="new"),
        covered_delivery(1)._replace(seal_key=2),
        covered_delivery(1)._replace(case="unknown"),
    ):
        with pytest.raises(TransientError):
            composer.compose(leased_mail(missing))
    catalog.campaigns = {}
    with pytest.raises(TransientError):
        composer.compose(leased_mail(covered_delivery(1)))


def test_production_needs_a_sender_of_its_own(tmp_path: Path) -> None:
    given_settings = {
        "environment": "production",
        "database_url": "postgresql://nowhere",
        "wrapping_private_key_file": tmp_path,
        "recipient_key_file": tmp_path,
    }
    with pytest.raises(ValueError, match="MAIL_FROM"):
        Settings.model_validate({**given_settings, "mail_from": EXAMPLE_SENDER})
    assert Settings.model_validate({**given_settings, "mail_from": "post@ngo.example"}).mail_domain == "ngo.example"

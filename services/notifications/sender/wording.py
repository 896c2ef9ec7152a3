"""The words of a mail in one language: sentences in gettext, dates as the language has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from markupsafe import Markup

from services.notifications.sender.mime import clean
from shared.events.marathon import Texts
from shared.events.words import Kind
from shared.web.formats import formats
from shared.web.languages import SOURCE, is_complete, messages_of, translations

TRANSLATIONS: Final = Path(__file__).parents[1] / "translations"
DAY_S: Final = 86_400
NAME_CHARACTERS: Final = 60

_NO_NAME: Final = re.compile(r"[\d/:@<>\\]|www\.|\.\w{2}", re.IGNORECASE)
"""What turns a name into a link in a mail program, or into an advertisement."""


_CODE: Final = (
    """<span style="font-family:Consolas,'DejaVu Sans Mono',monospace; font-size:17px; white-space:nowrap;">%s</span>"""
)
"""How a mail's HTML sets a code; everything in a mail is inline."""


@cache
def written() -> tuple[str, ...]:
    """The languages in which mails exist: the source, and every one whose catalogue is complete."""
    codes = sorted(path.parents[1].name for path in TRANSLATIONS.glob("*/LC_MESSAGES/messages.po"))
    return (SOURCE, *(code for code in codes if code != SOURCE and is_complete(messages_of(code, TRANSLATIONS))))


def language_of(locale: str, offered: Sequence[str]) -> str:
    """The language of a mail to somebody who acted in `locale`, where the campaign speaks `offered`."""
    wanted = locale.replace("_", "-").partition("-")[0].lower()
    return next((code for code in (wanted, *offered) if code in written()), SOURCE)


def localized(texts: Texts, code: str) -> str:
    """The text in the language `code`, else in the source language, else in any."""
    return texts.get(code) or texts.get(SOURCE) or next(iter(texts.values()), "")


def shown_name(name: str) -> str:
    """A name that somebody typed, as a mail may show it; empty where it could pass for a link or is no name.

    Anybody can type anything with anybody's address: a mail must not carry a stranger's message.
    """
    name = clean(name)
    return "" if len(name) > NAME_CHARACTERS or _NO_NAME.search(name) else name


@lru_cache(maxsize=2_000)
def _day(days: int, code: str) -> str:
    return formats(code).date(float(days * DAY_S))


class Sentence(NamedTuple):
    """A sentence for each part of a mail."""

    text: str
    html: Markup


class Wording:
    """The sentences that depend on what was done."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.translations = translations(code, TRANSLATIONS)
        self._ = self.translations.gettext
        self.ngettext = self.translations.ngettext

    def day(self, at: float) -> str:
        """The day of a time in seconds since 1970, in UTC: `1 December 2026`."""
        return _day(int(at // DAY_S), self.code)

    def subject_of_one(self, kind: Kind, name: str) -> str:
        """The subject of a mail about one act for the case `name`."""
        _ = self._
        if kind == "signature":
            return _("Please confirm: your signature for %(name)s") % {"name": name}
        return _("Please confirm: your message for %(name)s") % {"name": name}

    def subject_of_many(self, count: int) -> str:
        """A subject that names nobody."""
        text = self.ngettext("Please confirm: one step is left", "Please confirm: %(count)s acts wait for you", count)
        return text % {"count": count}

    def greeting(self, name: str) -> str:
        """The first line; `name` may be empty."""
        return self._("%(name)s, one step is left.") % {"name": name} if name else self._("One step is left.")

    def thanks(self, name: str) -> str:
        """The last line; `name` is whom the acts were for, empty where there are several."""
        if name:
            return self._("Thank you for standing up for %(name)s.") % {"name": name}
        return self._("Thank you for standing up for them.")

    def sentence(self, kind: Kind, title: str, at: float, *, name: str = "", receipt: str = "") -> Sentence:
        """What the person did, to `title` (a petition's, or somebody's name), and when; as who, if `name` is given,
        and with which receipt, if that is.
        """
        _ = self._
        match kind:
            case "signature":
                text = _("You signed %(title)s on %(date)s.")
            case "letter":
                text = _("You wrote a letter to %(title)s on %(date)s.")
            case "postcard":
                text = _("You wrote a postcard to %(title)s on %(date)s.")
            case "drawing":
                text = _("You sent a drawing to %(title)s on %(date)s.")
            case _:
                text = _("You wrote a message to %(title)s on %(date)s.")
        if name:
            text = " ".join((text, _("As %(name)s.")))
        if receipt:
            text = " ".join((text, _("Receipt %(receipt)s.")))
        quoted = _('"%(title)s"') % {"title": title} if kind == "signature" else title
        values = {"date": self.day(at), "name": name, "receipt": receipt}
        html = Markup(text) % {"title": Markup("<i>%s</i>") % title, **values}  # noqa: S704  our own sentences
        return Sentence(text % {"title": quoted, **values}, html)

    def receipt(self, code: str) -> Sentence:
        """The line that names the receipt of one act."""
        text = self._("Your receipt is %(receipt)s.")
        html = Markup(text) % {"receipt": Markup(_CODE) % code}  # noqa: S704  our own sentence
        return Sentence(text % {"receipt": code}, html)

    def label(self, *, signatures: bool, count: int) -> str:
        """What stands on a button that confirms `count` acts."""
        if signatures:
            text = self.ngettext("Confirm my signature", "Confirm my %(count)s signatures", count)
        else:
            text = self.ngettext("Confirm my message", "Confirm my %(count)s messages", count)
        return text % {"count": count}

    def label_of_other_data(self, name: str) -> str:
        """What stands on the button of an act whose content differs from what was sent before; `name` may be empty."""
        if name:
            return self._("Confirm it as %(name)s") % {"name": name}
        return self._("Confirm this version")


@cache
def wording(code: str) -> Wording:
    """The wording of a language, kept."""
    return Wording(code)

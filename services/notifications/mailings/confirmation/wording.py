"""The wording of a confirmation in one language: sentences from gettext, dates in the language's format."""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from markupsafe import Markup

from services.notifications.sender.compose.wording import TRANSLATIONS, format_day
from shared.events.values import Kind
from shared.web.languages import load_translations

_CODE_HTML: Final = (
    """<span style="font-family:Consolas,'DejaVu Sans Mono',monospace; font-size:17px; white-space:nowrap;">%s</span>"""
)
"""The markup of a code in HTML; styles in a mail are inline."""


class Sentence(NamedTuple):
    """A sentence for each part of a mail."""

    text: str
    html: Markup


class Wording:
    """The sentences that depend on the acts of a mail."""

    def __init__(self, code: str) -> None:
        self.code = code
        translations = load_translations(code, TRANSLATIONS)
        self._ = translations.gettext
        self.ngettext = translations.ngettext

    def subject_for_one(self, kind: Kind, name: str) -> str:
        """Return the subject of a mail about one act for the case `name`."""
        _ = self._
        if kind == "signature":
            return _("Please confirm: your signature for %(name)s") % {"name": name}
        return _("Please confirm: your message for %(name)s") % {"name": name}

    def subject_for_many(self, count: int) -> str:
        """Return a subject that names no case."""
        text = self.ngettext("Please confirm: one step is left", "Please confirm: %(count)s acts wait for you", count)
        return text % {"count": count}

    def greeting(self, name: str) -> str:
        """Return the first line; `name` may be empty."""
        return self._("%(name)s, one step is left.") % {"name": name} if name else self._("One step is left.")

    def thanks(self, name: str) -> str:
        """Return the last line; `name` is that of the case, empty where there are several."""
        if name:
            return self._("Thank you for standing up for %(name)s.") % {"name": name}
        return self._("Thank you for standing up for them.")

    def sentence(self, kind: Kind, title: str, at: float, *, name: str = "", receipt: str = "") -> Sentence:
        """Return the sentence about one act: its kind, its `title` (a petition's, or the name of a case), its day,
        and the person's `name` and the receipt where they are given.
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
        values = {"date": format_day(at, self.code), "name": name, "receipt": receipt}
        html = Markup(text) % {"title": Markup("<i>%s</i>") % title, **values}  # noqa: S704  our own sentences
        return Sentence(text % {"title": quoted, **values}, html)

    def receipt(self, code: str) -> Sentence:
        """Return the line with the receipt of one act."""
        text = self._("Your receipt is %(receipt)s.")
        html = Markup(text) % {"receipt": Markup(_CODE_HTML) % code}  # noqa: S704  our own sentence
        return Sentence(text % {"receipt": code}, html)

    def label(self, *, signatures: bool, count: int) -> str:
        """Return the label of a button that confirms `count` acts."""
        if signatures:
            text = self.ngettext("Confirm my signature", "Confirm my %(count)s signatures", count)
        else:
            text = self.ngettext("Confirm my message", "Confirm my %(count)s messages", count)
        return text % {"count": count}

    def label_for_other_data(self, name: str) -> str:
        """Return the label of a button for an act with other content than before; `name` may be empty."""
        if name:
            return self._("Confirm it as %(name)s") % {"name": name}
        return self._("Confirm this version")


@cache
def load_wording(code: str) -> Wording:
    """Load the wording of a language; cached."""
    return Wording(code)

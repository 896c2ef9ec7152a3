"""The templates of a mailing: a pair for each language."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape
from markupsafe import escape

from services.notifications.sender.compose.wording import TRANSLATIONS
from shared.web.languages import load_translations

TEXT_WIDTH: Final = 72

_SENTENCE: Final = re.compile(r'\{\{ _\("([^"\\]*)"\) \}\}')
"""A sentence that is the same in every mail. The others come with the view."""


class _Loader(FileSystemLoader):
    """Translates sentences once, when a template is read, rather than in every mail; wraps those of text parts."""

    def __init__(self, folder: Path, gettext: Callable[[str], str]) -> None:
        super().__init__(folder)
        self._gettext = gettext

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        source, filename, is_current = super().get_source(environment, template)
        finish = escape if template.endswith(".html") else _wrap
        return _SENTENCE.sub(lambda match: finish(self._gettext(match[1])), source), filename, is_current


def _wrap(text: str) -> str:
    return textwrap.fill(text, TEXT_WIDTH, break_long_words=False, break_on_hyphens=False)


@cache
def load_templates(folder: Path, name: str, code: str) -> tuple[Template, Template]:
    """Load the text and the HTML part, `<name>.txt` and `<name>.html` of `folder`, in the language `code`."""
    environment = Environment(
        loader=_Loader(folder, load_translations(code, TRANSLATIONS).gettext),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    return environment.get_template(f"{name}.txt"), environment.get_template(f"{name}.html")

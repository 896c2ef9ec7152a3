"""`mille translations`: collect the sentences of all pages and mails into the catalogues of the translators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from babel import Locale, UnknownLocaleError
from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import write_po

from deploy.local.home import PROJECT
from shared.web.languages import SOURCE_LANGUAGE, TRANSLATIONS_FOLDER, is_translated, load_messages

FOLDERS: Final = (PROJECT / "shared" / "web", *sorted(path.parent for path in PROJECT.glob("services/*/app.py")))
"""Each has its sentences in `templates` and in code, and the translations of these in `translations`."""
KEYWORDS: Final = {"_": None, "gettext": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2)}

app = typer.Typer(add_completion=False)


@app.command()
def main(
    *, add: Annotated[str | None, typer.Option(help="Begin the catalogues of this language, for example `ru`")] = None
) -> None:
    """Bring every catalogue up to date with the templates, and say how many sentences are not translated yet.

    A new sentence that resembles an old one is given its translation and the mark `fuzzy`, for a translator to read.
    """
    try:
        added = str(Locale.parse(add)) if add else None
    except (UnknownLocaleError, ValueError):
        raise typer.BadParameter(f"{add!r} is no language that Babel knows", param_hint="--add") from None
    languages = {path.name for folder in FOLDERS for path in folder.glob("translations/*") if path.is_dir()}
    for folder in FOLDERS:
        sentences = extract(folder)
        for code in sorted(languages | ({added} if added else set()) - {SOURCE_LANGUAGE}):
            if len(sentences):
                missing = update(folder / "translations", code, sentences)
                print(f"{code}  {folder.relative_to(PROJECT)}: {missing} of {len(sentences)} sentences to translate")


def extract(folder: Path) -> Catalog:
    """Return the sentences in the templates and the code of `folder`, without translations."""
    with (TRANSLATIONS_FOLDER / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    sentences = Catalog()
    for name, _, message, comments, context in extract_from_dir(folder, methods, options, keywords=KEYWORDS):
        location = (folder / name).relative_to(folder.parents[1])
        sentences.add(message, locations=[(str(location), 0)], auto_comments=comments, context=context)
    return sentences


def update(translations: Path, code: str, sentences: Catalog) -> int:
    """Write the catalogue of the language `code` anew, and return how many `sentences` it does not translate yet."""
    try:
        messages = load_messages(code, translations)
    except FileNotFoundError:
        messages = Catalog(locale=code, project="Milleplumes", version="1", fuzzy=False)
        messages.header_comment = f"# {Locale.parse(code).english_name} words of {translations.parent.name}."
    messages.update(sentences, update_creation_date=False)
    file = translations / code / "LC_MESSAGES" / "messages.po"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as output:
        write_po(output, messages, width=0, include_lineno=False, ignore_obsolete=True)
    return sum(not is_translated(messages, message) for message in messages if message.id)

"""The documents refer only to links, commands, settings, files and code that exist."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest
import typer
import yaml
from pydantic_settings import BaseSettings

from deploy.local import databases
from deploy.local.home import PROJECT
from deploy.mille.cli import COMMANDS
from services.marathon.domain.campaign_file import parse_campaign_file

PAGES: Final = sorted(
    path
    for path in (*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"))
    if path not in {PROJECT / "docs" / "benchmarks.md", PROJECT / "docs" / "faults.md"}
)
DOCUMENTS: Final = (*PAGES, PROJECT / "docs" / "benchmarks.md", PROJECT / "docs" / "faults.md")
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(PROJECT)) for page in PAGES])
EACH_DOCUMENT = pytest.mark.parametrize("page", DOCUMENTS, ids=[str(page.relative_to(PROJECT)) for page in DOCUMENTS])
LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE: Final = re.compile(r"`([^`\n]+)`")
PATH: Final = re.compile(r"(?<![\w./:-])((?:docs|deploy|shared|services|tests)/[\w./-]*\w)")
MODULE: Final = re.compile(r"(?<![\w./:-])((?:deploy|shared|services|tests)(?:\.[a-z_]\w*)+)\b(?!/)")
EXAMPLES: Final = {"services/letters/http/stamps.py", "services/letters/templates/stamps.html"}
"""Files that a recipe has its reader make."""
CODE_WORDS: Final = {
    word
    for folder in ("services", "shared", "deploy", "tests")
    for suffix in ("py", "yml")
    for path in (PROJECT / folder).rglob(f"*.{suffix}")
    if "node_modules" not in path.parts
    for word in re.findall(r"\w+", path.read_text())
}
SETTINGS: Final = {
    name.upper()
    for module in ("deploy.mille.setup", *(f"services.{service}.settings" for service in databases.SERVICES))
    for member in vars(importlib.import_module(module)).values()
    if inspect.isclass(member) and issubclass(member, BaseSettings)
    for name in member.model_fields
}
COMMAND_VARIABLES: Final = {"SCALE", "QUICK", "ROWS", "ONLY", "SABOTAGED", "SEED", "SLOW"}
"""Variables of the demo, the bench and the faults."""
OTHER_VARIABLES: Final = {*COMMAND_VARIABLES, "PGPASSFILE", "ORIGIN", "BIND", "WRITE_SCHEMAS", "TESTS"}
"""Also variables of asyncpg, of docker-compose.yml, of a test and of the Makefile."""


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of `page`, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def command_lines(page: Path) -> Iterator[str]:
    """Yield every command line in `page`: lines of code blocks without a language, and inline code."""
    text = page.read_text()
    for language, block in CODE.findall(text):
        if not language:
            yield from block.splitlines()
    yield from INLINE.findall(CODE.sub("", text))


@EACH_PAGE
def test_a_link_leads_to_something_that_is_there(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(PROJECT), link
        if anchor:
            assert anchor in anchors(target), link


@EACH_PAGE
def test_a_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):.*##", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    for line in command_lines(page):
        for target in re.findall(r"(?:^|\s)make ([a-z]+)", line.partition("#")[0]):
            assert target in targets, line


@EACH_PAGE
def test_a_mille_command_that_is_named_exists(page: Path) -> None:
    for line in command_lines(page):
        for words in re.findall(r"(?:^|bin/|mille )mille ([a-z ]+)", line.partition("#")[0]):
            name, *rest = words.split()
            assert name in COMMANDS, line
            commands = typer.main.get_command(importlib.import_module(f"deploy.mille.{name}").app)
            if rest and hasattr(commands, "commands"):
                assert rest[0] in commands.commands, line


@EACH_PAGE
def test_an_option_that_is_named_exists(page: Path) -> None:
    for line in command_lines(page):
        for name, words in re.findall(r"(?:^|bin/|mille )mille ([a-z]+)([^|#]*)", line):
            command = typer.main.get_command(importlib.import_module(f"deploy.mille.{name}").app)
            for word in words.split():
                command = getattr(command, "commands", {}).get(word, command)
            options = {
                option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
            }
            assert {word for word in words.split() if word.startswith("--")} <= options | {"--help"}, line


@EACH_PAGE
def test_a_setting_that_is_named_is_read(page: Path) -> None:
    for line in command_lines(page):
        for names in re.findall(r"(?:^|[\s`])([A-Z]+(?:_[A-Z]+)*)=|^([A-Z]+(?:_[A-Z]+)+)$", line):
            setting = "".join(names)
            assert setting in SETTINGS | OTHER_VARIABLES, line


@EACH_DOCUMENT
def test_a_path_that_is_named_exists(page: Path) -> None:
    for path in PATH.findall(page.read_text()):
        assert (PROJECT / path).exists() or path in EXAMPLES, path


@EACH_DOCUMENT
def test_a_module_that_is_named_exists(page: Path) -> None:
    for module in MODULE.findall(page.read_text()):
        path = PROJECT / module.replace(".", "/")
        named = path.is_dir() or path.with_suffix(".py").exists()
        assert named or re.search(rf"\b{path.name}\b", path.parent.with_suffix(".py").read_text()), module


@EACH_DOCUMENT
def test_a_class_that_is_named_exists(page: Path) -> None:
    for code in INLINE.findall(CODE.sub("", page.read_text())):
        for name in re.findall(r"\b(?:[A-Z][a-z0-9]+){2,}\b", code):
            assert name in CODE_WORDS, name


@EACH_PAGE
def test_a_page_names_no_place_of_ours(page: Path) -> None:
    text = page.read_text()
    for word in ("/work/", "/root/", "TODO", "FIXME", "pypi.org", "npmjs", "index-url"):
        assert word not in text


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    pending = [PROJECT / "README.md"]
    while pending:
        page = pending.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        local = (link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link)
        pending += [(page.parent / link).resolve() for link in local if link]
    assert set(PAGES) <= reached


def test_the_first_command_stands_on_the_first_screen() -> None:
    lines = (PROJECT / "README.md").read_text().splitlines()
    assert next(number for number, line in enumerate(lines) if line.startswith("make demo")) < 25


def test_the_picture_of_the_architecture_is_a_picture_and_asks_nobody() -> None:
    text = (PROJECT / "docs" / "architecture.svg").read_text()
    root = ET.fromstring(text)  # noqa: S314  our own file
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("role") == "img"
    assert not re.search(r"<script|<image|href=|url\((?!#)", text)


def test_the_example_campaign_can_be_imported() -> None:
    file, _ = parse_campaign_file((PROJECT / "docs" / "examples" / "campaign.yaml").read_text())
    readme = (PROJECT / "README.md").read_text()
    (petition,) = [case.petition for case in file.cases if case.petition]
    assert f'"petition": "{petition.slug}"' in readme
    assert f"--campaign {file.campaign.slug}" in readme


def test_decisions_are_numbered_listed_and_say_what_follows() -> None:
    folder = PROJECT / "docs" / "decisions"
    pages = sorted(path for path in folder.glob("[0-9]*.md"))
    assert [path.name[:4] for path in pages] == [f"{number:04d}" for number in range(1, len(pages) + 1)]
    listed = (folder / "README.md").read_text()
    for path in pages:
        text = path.read_text()
        title = text.splitlines()[0].removeprefix(f"# {path.name[:4]} ")
        assert f"[{path.name[:4]}]({path.name}) | {title} |" in listed
        assert all(part in text for part in ("**To decide.**", "**Decided.**", "**What follows.**"))


def test_every_setting_of_a_container_is_explained() -> None:
    compose = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    variables = {*compose["x-environment"], *compose["services"]["notifications"]["environment"]}
    page = (PROJECT / "docs" / "deployment.md").read_text()
    assert {name for name in variables if name not in page} == set()

"""The rules that CONTRIBUTING states, where a program can check them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from deploy.local.databases import SERVICES
from deploy.local.home import PROJECT
from shared import topics

SOURCES: Final = sorted(path for root in ("services", "shared", "deploy") for path in (PROJECT / root).rglob("*.py"))
TESTS: Final = sorted((PROJECT / "tests").rglob("*.py"))
MIGRATIONS: Final = sorted((PROJECT / "services").glob("*/migrations/versions/*.py"))
FORBIDDEN_NAMES: Final = {"utils", "helpers", "common", "manager", "base"}

MAX_FILE_LINES: Final = 300
MAX_FUNCTION_LINES: Final = 40
LONG_FUNCTIONS: Final = {
    "services/marathon/http/campaigns.py:router": 53,
    "services/marathon/http/totals.py:router": 54,
    "shared/counting/fast_path.py:add_plain_records": 46,
    "shared/kafka/records.py:_parse_records": 44,
}
"""Functions from before the limit was checked, with their lines then: the routers hold one nested function for each
route, the others one step for each field. An entry goes once its function is within the limit.
"""


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def calls_of_sleep(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of calls of any `sleep`, but `sleep(0)`, which only gives other tasks their turn."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            is_turn = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
            if called == "sleep" and not is_turn:
                yield node.lineno


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield the strings of a module but for its docstrings."""
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.value


def test_a_file_stays_within_300_lines() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_a_function_stays_within_40_lines_with_its_docstring() -> None:
    lengths: dict[str, int] = {}
    for path in SOURCES:
        for function in functions(ast.parse(path.read_text())):
            name = f"{name_of(path)}:{function.name}"
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            lengths[name] = max(lines, lengths.get(name, 0))
    assert {
        name: lines for name, lines in lengths.items() if lines > LONG_FUNCTIONS.get(name, MAX_FUNCTION_LINES)
    } == {}
    needless = {name for name in LONG_FUNCTIONS if lengths.get(name, 0) <= MAX_FUNCTION_LINES}
    assert needless == set(), "within the limit now: remove the entry"


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [name_of(path) for path in (*SOURCES, *TESTS) if FORBIDDEN_NAMES & set(path.with_suffix("").parts)] == []


def test_no_test_sleeps() -> None:
    waiting = [PROJECT / "tests" / name for name in ("support", "faults", "bench")]
    assert [
        f"{name_of(path)}:{line}"
        for path in TESTS
        if not any(path.is_relative_to(folder) for folder in waiting)
        for line in calls_of_sleep(ast.parse(path.read_text()))
    ] == []


def test_topics_are_named_in_one_place() -> None:
    found = {
        (name_of(path), text)
        for path in SOURCES
        if path != PROJECT / "shared" / "topics.py"
        for text in texts(ast.parse(path.read_text()))
        if any(name in text for name in topics.BY_NAME)
    }
    assert found == set()


def test_the_time_comes_from_one_place() -> None:
    clocks = re.compile(r"\btime\.time\(|\bdatetime\.(now|utcnow)\(|\bdate\.today\(")
    assert [name_of(path) for path in SOURCES if clocks.search(path.read_text())] == ["shared/clock.py"]


def test_metrics_are_declared_in_one_place() -> None:
    declared = re.compile(r"\b(Counter|Gauge|Histogram|Summary)\(\s*\"")
    assert [name_of(path) for path in SOURCES if declared.search(path.read_text())] == ["shared/metrics.py"]


@pytest.mark.parametrize("path", MIGRATIONS, ids=name_of)
def test_a_migration_uses_nothing_that_may_change_after_it(path: Path) -> None:
    imported = {
        f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported <= {"__future__.annotations", "shared.migrations.execute_beside"}


@pytest.mark.parametrize("service", SERVICES)
def test_the_page_on_retention_names_every_table(service: str) -> None:
    schema = (PROJECT / "services" / service / "schema.sql").read_text()
    tables = set(re.findall(r"^CREATE TABLE public\.(\w+)", schema, re.MULTILINE))
    page = (PROJECT / "docs" / "retention.md").read_text()
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    own, shared = (
        set(re.findall(r"^\| `(\w+)` \|", sections[title], re.MULTILINE)) for title in (service, "In several services")
    )
    assert own <= tables, "a table that is gone"
    assert tables <= own | shared, "a table of which nobody says how long it is kept"
    assert not own & shared

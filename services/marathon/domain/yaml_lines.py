"""Parse YAML (or JSON, nearly a subset of it) and record the line of every value.

Only plain data is accepted: `NO` is Norway and not false, times are text, and aliases and type tags are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import yaml

Path = tuple[str | int, ...]
"""The path of a value: field names and list indexes, counted from 0."""
Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

_KNOWN_TAGS: Final = {
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "map", "seq", "timestamp")
}
MAX_DEPTH: Final = 32


class Fault(NamedTuple):
    """A fault at `line` (from 1) and `path`; `text` says how to mend it."""

    line: int
    path: Path
    text: str


@dataclass(slots=True)
class ParsedYaml:
    """The data, the line of every path in it, and the faults found while parsing."""

    value: Value = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Return the line of `path`, or of its nearest existing parent."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Loader(yaml.SafeLoader):
    """Resolves plain scalars as JSON would: null, true, false and numbers; all else is text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  as PyYAML has it


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:null|~)?\Z"), ["n", "~", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)\Z"), ["t", "f"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?[0-9]+\Z"), list("-0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?[0-9]+\.[0-9]+(?:[eE][-+]?[0-9]+)?\Z"), list("-0123456789")
)


class _FastLoader(yaml.CSafeLoader):
    """Reads ten times as fast, by libyaml; its faults are read again by `_Loader`, which words them better."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def parse(text: str) -> ParsedYaml:
    """Parse `text`, as far as it can be read."""
    parsed = ParsedYaml()
    is_json = text.lstrip().startswith("{")
    try:
        value: Value = json.loads(text) if is_json else None
        plain = text.replace("\t", " ") if is_json else text
        try:
            _read_text(plain, _FastLoader, parsed)
        except (yaml.YAMLError, RecursionError, UnicodeError):
            parsed = ParsedYaml()
            _read_text(plain, _Loader, parsed)
        if is_json and not parsed.faults:
            parsed.value = value
    except json.JSONDecodeError as error:
        parsed.faults.append(Fault(error.lineno, (), f"not JSON: {error.msg}"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        parsed.faults.append(Fault(mark.line + 1 if mark else 1, (), f"not YAML: {error.problem}"))
    except yaml.YAMLError:
        parsed.faults.append(Fault(1, (), "not YAML: it holds characters that no text file should"))
    except RecursionError:
        parsed.faults.append(Fault(1, (), "is nested too deeply"))
    return parsed


def _read_text(text: str, loader: type[_Loader | _FastLoader], parsed: ParsedYaml) -> None:
    # A scan takes as long as all else, and most files hold neither character.
    if "&" in text or "*" in text:
        _refuse_aliases(text, loader, parsed)
    if not parsed.faults:
        node = yaml.compose(text, loader)
        parsed.value = None if node is None else _read(node, (), parsed)


def _refuse_aliases(text: str, loader: type[_Loader | _FastLoader], parsed: ParsedYaml) -> None:
    for token in yaml.scan(text, loader):
        if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
            line = token.start_mark.line + 1
            parsed.faults.append(Fault(line, (), "anchors and aliases (& and *) are not read: write it out"))


def _read(node: yaml.Node, path: Path, parsed: ParsedYaml) -> Value:
    line = node.start_mark.line + 1
    parsed.lines.setdefault(path, line)
    if node.tag not in _KNOWN_TAGS:
        parsed.faults.append(Fault(line, path, "has a type of its own (!...): leave that out"))
        return None
    if len(path) > MAX_DEPTH:
        parsed.faults.append(Fault(line, path, "is nested too deeply"))
        return None
    if isinstance(node, yaml.SequenceNode):
        return [_read(item, (*path, index), parsed) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return dict(_entries(node, path, parsed))
    assert isinstance(node, yaml.ScalarNode)  # noqa: S101  there is no fourth kind
    return _scalar(node)


def _entries(node: yaml.MappingNode, path: Path, parsed: ParsedYaml) -> Iterator[tuple[str, Value]]:
    seen = set()
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            parsed.faults.append(Fault(line, path, "has a field whose name is no text"))
            continue
        key = str(key_node.value)
        if key in seen:
            parsed.faults.append(Fault(line, (*path, key), "stands here twice: keep one"))
            continue
        seen.add(key)
        parsed.lines[*path, key] = line
        yield key, _read(value_node, (*path, key), parsed)


def _scalar(node: yaml.ScalarNode) -> Value:
    text = str(node.value)
    match node.tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return text == "true"
        case "int":
            return int(text) if len(text) < len(str(2**63)) else text
        case "float":
            return float(text)
    return text

"""Read the gateway's configuration and find where it sends an address, by nginx's own rules for locations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CONFIGURATION: Final = Path(__file__).parents[2] / "deploy" / "docker" / "gateway" / "nginx.conf"
_TOKEN: Final = re.compile(r"#[^\n]*|'[^']*'|\"[^\"]*\"|(?:[^\s;{}'\"#]|\{\d+\})+|[;{}]")


@dataclass(frozen=True)
class Directive:
    """One directive: its words without quotes, and the block in its braces."""

    words: tuple[str, ...]
    block: list[Directive] = field(default_factory=list)

    def all(self, name: str) -> list[Directive]:
        return [directive for directive in self.block if directive.words[0] == name]

    def argument(self, name: str) -> str | None:
        """The first argument of the directive `name` directly in this block."""
        return next((directive.words[1] for directive in self.all(name)), None)


def read() -> Directive:
    """Read the whole configuration as one block."""
    tokens = [token for token in _TOKEN.findall(CONFIGURATION.read_text()) if not token.startswith("#")]
    return Directive(("main",), _block(iter(tokens)))


def _block(tokens: Iterator[str]) -> list[Directive]:
    directives: list[Directive] = []
    words: list[str] = []
    for token in tokens:
        if token == "}":
            return directives
        if token in {";", "{"}:
            directives.append(Directive(tuple(words), _block(tokens) if token == "{" else []))
            words = []
        else:
            words.append(token.strip("'\""))
    return directives


def location(path: str) -> Directive:
    """Find nginx's location for `path`: an exact one, else the first matching expression, else the longest prefix.

    Source: https://nginx.org/en/docs/http/ngx_http_core_module.html#location
    """
    (http,) = read().all("http")
    (server,) = http.all("server")
    prefixes: list[Directive] = []
    expressions: list[Directive] = []
    for candidate in server.all("location"):
        match candidate.words[1:]:
            case ("=", exact) if exact == path:
                return candidate
            case ("~", expression) if re.search(expression, path):
                expressions.append(candidate)
            case (prefix,) if path.startswith(prefix):
                prefixes.append(candidate)
    return expressions[0] if expressions else max(prefixes, key=lambda candidate: len(candidate.words[1]))


def upstream(path: str) -> str | None:
    """Return the service that `path` is proxied to; None if it is blocked."""
    address = location(path).argument("proxy_pass")
    return address.removeprefix("http://") if address else None


def body_bytes(path: str) -> int:
    """Return the largest body in bytes that `path` accepts."""
    (http,) = read().all("http")
    text = location(path).argument("client_max_body_size") or http.argument("client_max_body_size") or "1m"
    return int(text[:-1]) * {"k": 1024, "m": 1024 * 1024}[text[-1]]


def mapped(variable: str, path: str) -> str:
    """Return the value that a map gives `variable` for the path: exact words first, then expressions."""
    (http,) = read().all("http")
    (rule,) = [rule for rule in http.all("map") if rule.words[2] == variable]
    values = {entry.words[0]: entry.words[1] for entry in rule.block}
    if path in values:
        return values[path]
    fitting = (value for key, value in values.items() if key.startswith("~") and re.search(key[1:], path))
    return next(fitting, values["default"])

"""`mille events`: write `docs/events.md`, the reference of every topic and event, from the code and the examples."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
import typer

from deploy.local.home import PROJECT
from shared import asyncapi, topics
from shared.errors import SetupError
from shared.events.classes import EVENTS
from shared.events.examples import Example, load_examples

PAGE: Final = PROJECT / "docs" / "events.md"
HOUR_MS: Final = 60 * 60 * 1000
DAY_MS: Final = 24 * HOUR_MS

HEAD: Final = """\
# Events

Written by `mille events` from `shared/topics.py`, `shared/events` and its examples; a test keeps it up to date.

Every record is a CloudEvent 1.0 in Kafka's binary mode: attributes in `ce_*` headers, JSON in the value.
`ce_dataversion` is major.minor: readers ignore unknown fields and unknown minors; an unknown major is a dead letter.
Keys of 16 bytes are shown in hexadecimal; they are keyed hashes that name nobody. Personal data stands only in
`sealed`. Field types are Python's; a field with a default may be left out. Times are RFC 3339 in UTC.
"""

app = typer.Typer(add_completion=False)


@app.command()
def events(
    *,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail where the page is stale")] = False,
) -> None:
    """Write docs/events.md from the code."""
    content = page()
    if not check:
        PAGE.write_text(content)
    elif not PAGE.exists() or PAGE.read_text() != content:
        raise SetupError("docs/events.md is not up to date: run `mille events`")


def page() -> str:
    """Return the whole page, as Markdown."""
    return "\n".join([HEAD, *_overview(), "", *_topics()])


def _overview() -> Iterator[str]:
    yield "## Topics"
    yield ""
    yield "| topic | written by | read by | key | partitions | kept | personal data |"
    yield "|---|---|---|---|---|---|---|"
    for topic in topics.ALL:
        readers = ", ".join(name for name, read in asyncapi.CONSUMED.items() if topic in read) or _other_reader(topic)
        data = "sealed" if topic.personal_data else "none"
        key = f"`{topic.key}`" if "<" in topic.key else topic.key
        cells = (f"`{topic.name}`", topic.owner, readers, key, _partitions(topic), _retention(topic), data)
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        "Partitions are those of a development and of a production platform; a topic's number never changes, because "
        "keys map to partitions by it. A dead-letter topic (`.dlq`) holds records of its source as they came, the "
        "reason in headers. A topic of probes holds empty records by which its writer learns the broker's time."
    )


def _other_reader(topic: topics.Topic) -> str:
    if not topic.events:
        return "nobody"
    return "`mille dlq`" if topic.name.endswith(".dlq") else "whoever wants to"


def _topics() -> Iterator[str]:
    examples_by_event = {example.event: example for example in load_examples()}
    for topic in topics.ALL:
        if topic.name.endswith(".dlq") or not topic.events:
            continue
        yield f"## `{topic.name}`"
        yield ""
        for event in topic.events:
            if topic == _first_topic_with(event):
                yield from _event(event, examples_by_event[event])
            else:
                yield f"`{event}`, as on [`{_first_topic_with(event).name}`](#{event})."
                yield ""


def _first_topic_with(event: str) -> topics.Topic:
    return next(topic for topic in topics.ALL if event in topic.events)


def _event(event: str, example: Example) -> Iterator[str]:
    struct = EVENTS[event]
    yield f"### {event}"
    yield ""
    yield f"Version {example.version}. {_docstrings(struct)}"
    yield ""
    yield from _fields(struct)
    for part in _parts_of(struct):
        yield f"`{part.__name__}`: {_docstrings(part)}"
        yield ""
        yield from _fields(part)
    yield "```json"
    yield json.dumps(example.document, indent=2, ensure_ascii=False)
    yield "```"
    yield ""


def _fields(struct: type[msgspec.Struct]) -> Iterator[str]:
    yield "| field | type | default |"
    yield "|---|---|---|"
    hints = typing.get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        default = "" if field.required else f"`{json.dumps(_default(field), ensure_ascii=False)}`"
        yield f"| `{field.encode_name}` | `{_type(hints[field.name])}` | {default} |"
    yield ""


def _default(field: msgspec.structs.FieldInfo) -> Any:
    factory = field.default_factory
    default = factory() if callable(factory) else field.default
    return msgspec.to_builtins(default)


def _type(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " \\| ".join(json.dumps(word) for word in arguments)
    if origin in (types.UnionType, typing.Union):
        return " \\| ".join(_type(argument) for argument in arguments)
    if origin is not None:
        return f"{origin.__name__}[{', '.join('...' if part is ... else _type(part) for part in arguments)}]"
    return "null" if hint is type(None) else str(hint.__name__)


def _parts_of(struct: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """Return the structs in the fields of `struct`, in order, each once."""
    parts: list[type[msgspec.Struct]] = []

    def look(hint: Any) -> None:
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint not in parts:
            parts.append(hint)
            for part in typing.get_type_hints(hint).values():
                look(part)
        for argument in typing.get_args(hint):
            look(argument)

    look(struct)
    return parts[1:]


def _docstrings(struct: type[msgspec.Struct]) -> str:
    """Return the docstrings of `struct` and of the classes it extends, most special first, a paragraph each."""
    lineage = [part for part in struct.__mro__ if part.__module__.startswith("shared.events")]
    return "\n\n".join(" ".join(inspect.cleandoc(part.__doc__ or "").split()) for part in lineage)


def _partitions(topic: topics.Topic) -> str:
    if topic.partitions == topic.partitions_production:
        return str(topic.partitions)
    return f"{topic.partitions} / {topic.partitions_production}"


def _retention(topic: topics.Topic) -> str:
    if topic.compacted:
        return "the last of each key"
    if topic.retention_ms == topics.FOREVER_MS:
        return "for ever"
    days, rest = divmod(topic.retention_ms, DAY_MS)
    return f"{days} days" if not rest else f"{topic.retention_ms / HOUR_MS:g} h"

"""`mille dlq`: list dead letters, look at one, put them back on their topics or dismiss them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.markup import escape

from deploy.local.endpoints import Endpoints
from deploy.mille.running_platform import read_endpoints
from deploy.mille.tables import print_table, table
from deploy.recovery.dead_letter_lines import describe
from deploy.recovery.dead_letters import APPLIED, DISMISSED, WAITING, FoundLetter, dismiss, put_back, read_letters
from shared import topics
from shared.errors import SetupError
from shared.topics import Topic, dead_letter_name

MAX_PLACES: Final = 3
MAX_LINES: Final = 20

app = typer.Typer(add_completion=False, no_args_is_help=True)
TopicName = Annotated[str, typer.Option("--topic", help="Only the dead letters of this topic")]
Reason = Annotated[str, typer.Option(help="Only those that were refused for this reason")]
Place = Annotated[str, typer.Argument(metavar="PLACE", help="TOPIC/PARTITION/OFFSET, as the list and the logs say")]


@app.command("list")
def list_letters(
    topic: TopicName = "",
    reason: Reason = "",
    *,
    dismissed: Annotated[bool, typer.Option("--dismissed", help="Those that were dismissed, instead")] = False,
) -> None:
    """Say how many dead letters there are of each topic and reason, how many of them were counted since, and where
    those that wait stood first.

    Those that a subscription refused were put back since. Example: mille dlq list --reason unknown-version
    """
    states = {DISMISSED} if dismissed else {WAITING, APPLIED}
    letters = [found for found in _read(read_endpoints(), topic, reason) if found.state in states]
    by_reason: defaultdict[tuple[str, str], list[FoundLetter]] = defaultdict(list)
    for found in letters:
        by_reason[found.topic.name, found.letter.reason].append(found)
    rows = table("topic", "reason", "dead letters", *([] if dismissed else ["counted since", "waiting"]), "where")
    for (name, why), group in sorted(by_reason.items()):
        open_ = [found for found in group if found.state != APPLIED]
        figures = [] if dismissed else [str(len(group) - len(open_)), str(len(open_))]
        rows.add_row(name, escape(why), str(len(group)), *figures, _places(open_))
    if letters:
        print_table(rows)
    else:
        print("no dead letter was dismissed" if dismissed else "no dead letters")


@app.command()
def show(place: Place) -> None:
    """Show one dead letter: who refused it and why, times, sizes and headers. What is in it is not shown.

    Example: mille dlq show petitions.signatures.v1/1/17
    """
    for found in _at(read_endpoints(), place):
        print("\n".join(describe(found)))


@app.command("redrive")
def redrive_letters(topic: TopicName = "", reason: Reason = "") -> None:
    """Put the dead letters that wait back on their topics, and say which are refused again (exit status 1).

    Repeating it counts nothing twice. Example: mille dlq redrive --reason unknown-version
    """
    at, refused_again = read_endpoints(), False
    letters = _read(at, topic, reason, with_records=True)
    for each in _topics(topic):
        waiting = [found.letter for found in letters if found.topic == each and found.state == WAITING]
        done = asyncio.run(put_back(at, each, waiting))
        print(f"{each.name}: {done.sent} put back")
        if done.sent < len(waiting):
            print(f"{each.name}: {len(waiting) - done.sent} cannot travel, they stay where they are")
        _print_some([f"{found.place}: refused again: {found.letter.reason}" for found in done.refused_again])
        if done.unread:
            print(f"{each.name}: {done.unread} not read yet: does their service run? `mille dlq list` says it later")
        refused_again |= bool(done.refused_again)
    raise typer.Exit(1 if refused_again else 0)


@app.command("dismiss")
def dismiss_letters(
    places: Annotated[list[str] | None, typer.Argument(metavar="PLACE", help="TOPIC/PARTITION/OFFSET")] = None,
    topic: TopicName = "",
    reason: Reason = "",
    *,
    why: Annotated[str, typer.Option(help="Why, in a sentence; it is kept in the trail")],
) -> None:
    """Give up dead letters: they are no longer counted, listed or put back. `mille recover list` keeps when and why.
    Without places, all that wait of a topic or reason.

    Example: mille dlq dismiss petitions.signatures.v1/1/17 --why "a test of ours"
    """
    if not why.strip():
        raise SetupError("say with --why why; it is kept in the trail")
    if bool(places) == bool(topic or reason):
        raise SetupError("name the places of dead letters, or all of them with --topic or --reason")
    at = read_endpoints()
    chosen = [found for place in places for found in _at(at, place)] if places else _read(at, topic, reason)
    for found in chosen:
        if places and found.state != WAITING:
            raise SetupError(f"{found.place} does not wait: it was {found.state}")
    waiting = [found for found in chosen if found.state == WAITING]
    for found in waiting:
        asyncio.run(dismiss(at, found, why))
    print(f"{len(waiting)} dismissed")


def _read(at: Endpoints, topic: str, reason: str, *, with_records: bool = False) -> list[FoundLetter]:
    """Read the dead letters of the topic called `topic`, or of all, that were refused for `reason`, or for any.

    Raises:
        SetupError: there is no such topic or reason; the message says which there are.
    """
    found = [
        letter for each in _topics(topic) for letter in asyncio.run(read_letters(at, each, with_records=with_records))
    ]
    reasons = sorted({each.letter.reason for each in found})
    if reason and reason not in reasons:
        raise SetupError(f"no dead letter was refused for {reason}; the reasons are: {', '.join(reasons) or 'none'}")
    return [each for each in found if reason in {"", each.letter.reason}]


def _at(at: Endpoints, place: str) -> list[FoundLetter]:
    """Read the dead letters at `place`, one for each group that refused the record. A copy that was put back and
    refused again has the place of the copy too.

    Raises:
        SetupError: there is none.
    """
    try:
        name, *numbers = place.rsplit("/", 2)
        partition, offset = map(int, numbers)
    except ValueError:
        example = f"{topics.SIGNATURES.name}/1/17"
        raise SetupError(f"{place} is not TOPIC/PARTITION/OFFSET, such as {example}") from None
    found = [
        each
        for topic in (_topics(name) if name else [])
        for each in asyncio.run(read_letters(at, topic, with_records=True))
        if each.letter.partition == partition and offset in {each.letter.offset, each.letter.refused_offset}
    ]
    if not found:
        raise SetupError(f"there is no dead letter {place}: `mille dlq list` says which there are")
    return found


def _topics(name: str) -> list[Topic]:
    """Return the topic called `name`, or, if it is empty, every topic that has dead letters.

    Raises:
        SetupError: no such topic has that name.
    """
    having = [topic for topic in topics.ALL if dead_letter_name(topic.name) in topics.BY_NAME]
    chosen = [topic for topic in having if name in {"", topic.name}]
    if not chosen:
        raise SetupError(f"{name} has no dead letters; these have: {', '.join(topic.name for topic in having)}")
    return chosen


def _places(letters: Sequence[FoundLetter]) -> str:
    places = sorted((found.letter.partition, found.letter.offset) for found in letters)
    rest = f" and {len(places) - MAX_PLACES} more" if len(places) > MAX_PLACES else ""
    return ", ".join(f"{partition}/{offset}" for partition, offset in places[:MAX_PLACES]) + rest


def _print_some(lines: Sequence[str]) -> None:
    for line in lines[:MAX_LINES]:
        print(line)
    if len(lines) > MAX_LINES:
        print(f"and {len(lines) - MAX_LINES} more")

"""The description of a dead letter for an operator, which says nothing that could be personal."""

from __future__ import annotations

import re
from typing import Final

from deploy.recovery.dead_letters import FoundLetter
from shared.kafka.dead_letters import HEADER_PREFIX, OMITTED_BYTES_HEADER

SHOWN_HEADERS: Final = {
    name: re.compile(pattern)
    for name, pattern in {
        "ce_specversion": r"\d{1,3}\.\d{1,3}",
        "ce_type": r"[a-z]+(-[a-z]+){1,5}",
        "ce_source": r"/[a-z]+(/[a-z]+){0,3}",
        "ce_dataversion": r"\d{1,5}\.\d{1,5}",
        "ce_time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z",
        "ce_origin": r"[a-z]+\.[a-z]+\.v\d+/\d{1,5}/\d{1,19}",
        "ce_origintime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z",
        "content-type": r"application/json",
    }.items()
}
"""The headers whose values are shown where they look as our producers write them: a stranger may write anything."""
WORD: Final = re.compile(r"[a-z0-9.-]{1,100}")


def describe(found: FoundLetter) -> list[str]:
    """Return lines that describe a dead letter that was read with its record."""
    letter, record = found.letter, found.letter.record
    lines = [
        found.place,
        f"  refused by   {_word(letter.group)}",
        f"  reason       {_word(letter.reason)}",
        f"  accepted     {letter.accepted_at}",
        f"  refused      {letter.refused_at}, the copy at offset {letter.refused_offset}",
        f"  state        {found.state}" + (f": {found.why}" if found.why else ""),
        f"  key          {_size(record.key)}",
    ]
    headers = record.headers
    if letter.value_omitted:
        lines.append(f"  value        {dict(headers)[OMITTED_BYTES_HEADER].decode()} bytes, too large to be kept here")
    else:
        lines.append(f"  value        {_size(record.value)}, not shown; what is personal in it is sealed")
    lines += [f"  header       {_header(*each)}" for each in headers if not each[0].startswith(HEADER_PREFIX)]
    return lines


def _header(name: str, value: bytes) -> str:
    text = value.decode("latin-1")
    if name not in SHOWN_HEADERS:
        own = name if name in {"ce_id", "ce_origingroup"} else f"a name of {len(name)} characters"
        return f"{own}: {len(value)} bytes"
    return f"{name}: {text}" if SHOWN_HEADERS[name].fullmatch(text) else f"{name}: {len(value)} bytes, unlike ours"


def _word(text: str) -> str:
    return text if WORD.fullmatch(text) else f"a word of {len(text)} characters"


def _size(content: bytes | None) -> str:
    return "none" if content is None else f"{len(content)} bytes"

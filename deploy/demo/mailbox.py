"""Read the mails of one run from the local mailbox."""

from __future__ import annotations

import os
import re
from email import policy
from email.parser import BytesHeaderParser, BytesParser
from pathlib import Path

_whole = BytesParser(policy=policy.default)
_headers = BytesHeaderParser()


class Mailbox:
    """The messages that reached `folder` since this was created, for addresses of the run that began at `run`."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self._run = f".{run}@"
        self._seen = _messages(folder)
        self.by_address: dict[str, set[str]] = {}
        """The Message-IDs by recipient."""
        self._files: dict[str, Path] = {}

    def scan(self) -> int:
        """Read the new messages; return the number of distinct Message-IDs so far."""
        new = _messages(self._folder) - self._seen
        for name in new:
            self._read(self._folder / name)
        self._seen |= new
        return len(set().union(*self.by_address.values()))

    def find_link(self, address: str, pattern: str) -> str | None:
        """Find the link that matches `pattern` in the plain text of the mail to `address`; None if it has none."""
        file = self._files.get(address)
        if file is None:
            return None
        body = _whole.parsebytes(file.read_bytes()).get_body(("plain",))
        match = re.search(pattern, body.get_content()) if body is not None else None
        return match.group(0) if match else None

    def _read(self, file: Path) -> None:
        headers = _headers.parsebytes(file.read_bytes())
        address = str(headers["To"] or "").rpartition("<")[2].rstrip(">").strip()
        if self._run in address:
            self.by_address.setdefault(address, set()).add(str(headers["Message-ID"]).strip())
            self._files[address] = file


def _messages(folder: Path) -> set[str]:
    names = os.listdir(folder)  # noqa: PTH208 - thousands of them, twice a second: no objects for each
    return {name for name in names if name.endswith(".eml")}

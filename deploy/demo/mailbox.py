"""What the local mailbox caught for one run."""

from __future__ import annotations

import re
from email import policy
from email.parser import BytesParser
from pathlib import Path
from typing import Final

HEADERS_END: Final = re.compile(rb"\r?\n\r?\n")

_parser = BytesParser(policy=policy.default)


class Mailbox:
    """The messages that came to `folder` after this was made, for addresses of the run that began at `run`."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self._run = f".{run}@"
        self._seen = {file.name for file in folder.glob("*.eml")}
        self.by_address: dict[str, set[str]] = {}
        """The Message-IDs by recipient."""
        self._files: dict[str, Path] = {}

    def scan(self) -> int:
        """Read what is new; how many different Message-IDs there are by now."""
        for file in self._folder.glob("*.eml"):
            if file.name not in self._seen:
                self._seen.add(file.name)
                self._read(file)
        return len(set().union(*self.by_address.values()))

    def link(self, address: str, pattern: str) -> str | None:
        """The link that matches `pattern` in the plain text of the mail to `address`; None where there is none."""
        file = self._files.get(address)
        if file is None:
            return None
        body = _parser.parsebytes(file.read_bytes()).get_body(("plain",))
        found = re.search(pattern, body.get_content()) if body is not None else None
        return found.group(0) if found else None

    def _read(self, file: Path) -> None:
        headers = _parser.parsebytes(HEADERS_END.split(file.read_bytes(), maxsplit=1)[0])
        address = str(headers["To"] or "").rpartition("<")[2].rstrip(">").strip()
        if self._run in address:
            self.by_address.setdefault(address, set()).add(str(headers["Message-ID"]))
            self._files[address] = file

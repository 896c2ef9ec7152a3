"""The folders of one local platform. Standard library only: `make clean` runs it without the environment."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]
DEFAULT_HOME: Final = PROJECT / ".local"
STATE_FOLDER: Final = Path("/var/lib/milleplumes")
"""The system's state folder, which has PostgreSQL's data if its user cannot reach the clone."""
PRIVATE_FILE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Home:
    """One `MILLE_HOME`: everything a running platform writes lies under `root`, or under `state` where it must."""

    root: Path

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Pid files, and the lock that a running platform holds."""
        return self.root / "run"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def mailbox(self) -> Path:
        return self.root / "mailbox"

    @property
    def kafka(self) -> Path:
        return self.root / "kafka"

    @property
    def kafka_data(self) -> Path:
        return self.kafka / "data"

    @property
    def passwords(self) -> Path:
        return self.root / "passwords.json"

    @property
    def endpoints(self) -> Path:
        return self.root / "endpoints.json"

    @property
    def state(self) -> Path:
        """This home's own folder under the system's state folder, named after the home's path."""
        return STATE_FOLDER / hashlib.sha256(str(self.root).encode()).hexdigest()[:16]

    def in_use(self) -> bool:
        """Whether a platform runs, starts or stops here: it holds the lock."""
        if not self.lock.exists():
            return False
        with self.lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def make(self) -> None:
        """Create the folders that are missing."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (self.keys, self.run):
            folder.mkdir(mode=0o700, exist_ok=True)
        for folder in (self.logs, self.mailbox, self.kafka):
            folder.mkdir(exist_ok=True)


def home_at(text: str) -> Home:
    """Return the home that `text` (the setting MILLE_HOME) names; the clone's `.local` if it is empty."""
    return Home(Path(text).expanduser().resolve() if text else DEFAULT_HOME)


def write_private(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all, readable by the owner alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def remove(home: Home) -> None:
    """Delete the home and its state folder.

    Raises:
        PermissionError: some of it belongs to another user.
    """
    for folder in (home.root, home.state):
        if folder.exists():
            shutil.rmtree(folder)

"""Kafka's jars: fetched once by `make setup`, each checked against the SHA-256 locked beside this file.

`python -m deploy.local.jars fetch` fetches what is missing; `python -m deploy.local.jars lock` writes the lock anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import stamina

from deploy.local.home import PROJECT
from shared.errors import SetupError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

KAFKA_VERSION: Final = "4.3.1"
ROOTS: Final = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    f"org.apache.kafka:kafka-clients:{KAFKA_VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5",
)
"""The artifacts to resolve. The clients are explicit, since the resolver would pick an old version of them."""
LOCK: Final = Path(__file__).with_name("kafka.jars.lock")
FOLDER: Final = PROJECT / ".cache" / "kafka"
DOWNLOADS_AT_ONCE: Final = 8
TIMEOUT_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked jar, with its Maven coordinate `group:artifact:version` and its SHA-256 in hexadecimal."""

    coordinate: str
    sha256: str

    @property
    def path(self) -> Path:
        _, artifact, version = self.coordinate.split(":")
        return FOLDER / f"{artifact}-{version}.jar"

    def is_intact(self) -> bool:
        """Whether the jar exists and is the locked one."""
        return self.path.is_file() and _sha256(self.path) == self.sha256


def locked() -> list[Jar]:
    """Return the locked jars, in the order of the lock."""
    lines = (line.split() for line in LOCK.read_text().splitlines() if line and not line.startswith("#"))
    return [Jar(coordinate, sha256) for sha256, coordinate in lines]


def class_path() -> str:
    """Return the Java class path of the broker.

    Raises:
        SetupError: a jar is missing or is not the locked one.
    """
    jars = locked()
    if wrong := [jar.path.name for jar in jars if not jar.is_intact()]:
        raise SetupError(f"Kafka's jars are missing or damaged ({', '.join(wrong[:3])}...): run `make setup`")
    return os.pathsep.join(str(jar.path) for jar in jars)


def fetch() -> None:
    """Fetch the locked jars that are missing.

    Raises:
        SetupError: a fetched jar is not the locked one.
    """
    missing = [jar for jar in locked() if not jar.is_intact()]
    if not missing:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    with _maven() as maven, ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        for jar, downloaded in zip(
            missing, pool.map(lambda jar: _download(maven, jar.coordinate), missing), strict=True
        ):
            if _sha256(downloaded) != jar.sha256:
                raise SetupError(f"{jar.coordinate} came with another SHA-256 than {LOCK.name} names: not used")
            downloaded.replace(jar.path)


def lock() -> None:
    """Resolve `ROOTS` with their dependencies and rewrite the lock."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with _maven() as maven, ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        coordinates = sorted(_resolve(maven))
        sums = pool.map(lambda coordinate: _sha256(_download(maven, coordinate)), coordinates)
        lines = [f"{sha256}  {coordinate}" for sha256, coordinate in zip(sums, coordinates, strict=True)]
    head = "# SHA-256 and Maven coordinate of each jar; written by `python -m deploy.local.jars lock`"
    LOCK.write_text("\n".join([head, *lines, ""]))


def _resolve(maven: MavenContext) -> set[str]:
    from jgo.parse import Coordinate

    dependencies = [maven.create_dependency(replace(Coordinate.parse(root), scope="compile")) for root in ROOTS]
    named, transitive = maven.resolver.resolve(dependencies)
    artifacts = [dependency.artifact for dependency in named]
    artifacts += [dependency.artifact for dependency in transitive if dependency.scope in ("compile", "runtime")]
    return {f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}" for artifact in artifacts}


@stamina.retry(on=(OSError, RuntimeError), attempts=4, timeout=120)
def _download(maven: MavenContext, coordinate: str) -> Path:
    group, artifact, version = coordinate.split(":")
    file = maven.project(group, artifact).at_version(version).artifact()
    if file.cached_path is not None:
        file.cached_path.unlink(missing_ok=True)
    return Path(file.resolve())


@contextmanager
def _maven() -> Iterator[MavenContext]:
    """Open a temporary Maven repository, so that the remains of a broken download are never used."""
    from jgo.maven import MavenContext

    if "SSL_CERT_FILE" in os.environ:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", os.environ["SSL_CERT_FILE"])
    repository = Path(tempfile.mkdtemp(dir=FOLDER, prefix="fetch-"))
    try:
        yield MavenContext(repo_cache=repository, timeout=TIMEOUT_SECONDS)
    finally:
        shutil.rmtree(repository)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Run the action that the only argument names."""
    actions = {"fetch": fetch, "lock": lock}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:  # noqa: PLR2004
        sys.exit("usage: python -m deploy.local.jars fetch|lock")
    try:
        actions[sys.argv[1]]()
    except SetupError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

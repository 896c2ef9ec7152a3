"""`mille`: find the command's module and run it.

Only that module is imported, so that each command starts fast.
"""

from __future__ import annotations

import errno
import importlib
import logging
import sys
from typing import Final

import stamina
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from shared.errors import MilleplumesError

COMMANDS: Final = {
    "run": "Start everything and keep it running until Ctrl-C",
    "restart": "Restart the processes of one service, one after another",
    "demo": "Replay a real petition through the whole system and compare the totals",
    "doctor": "Check each part and say how to mend what is wrong",
    "campaigns": "Import campaigns and cases",
    "keys": "Create API keys for partners",
    "audit": "Recompute the totals independently and compare",
    "replay": "Count a topic again from its start and compare",
    "dlq": "List dead letters, show, redrive or dismiss them",
    "topics": "Check or create the Kafka topics",
    "recover": "After a loss: accept a new log, fill the ledger, tell again, restore a database",
    "bench": "Measure how much it takes and counts, and write build/bench.json",
    "events": "Write docs/events.md, the reference of topics and events, from the code",
    "translations": "Collect the sentences of all pages and mails for their translators",
    "setup": "Prepare an outside Kafka and PostgreSQL, and hand each service its secrets",
}
"""Every command, each in the module `deploy.mille.<command>` as a typer application called `app`."""
USAGE_ERROR: Final = 2


def main() -> None:
    """Run the command that the first argument names."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        _help()
        return
    if name not in COMMANDS:
        sys.stderr.write(f"mille: there is no command {name!r}; `mille --help` lists them\n")
        sys.exit(USAGE_ERROR)
    # People read the output: retries, and clients left open after an error, do not concern them.
    stamina.instrumentation.set_on_retry_hooks([])
    for library in ("aiokafka", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    app: typer.Typer = importlib.import_module(f"deploy.mille.{name}").app
    try:
        app(args=rest, prog_name=f"mille {name}")
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors())
        sys.exit(f"mille {name}: the settings are wrong: {faults}")
    except MilleplumesError as error:
        sys.exit(f"mille {name}: {error}")
    except Exception as error:
        if (outage := _describe_outage(error)) is None:
            raise
        sys.exit(f"mille {name}: {outage}; `mille doctor` says more")


def _describe_outage(error: Exception) -> str | None:
    """Describe which part of the platform is away according to `error`; None if it is no outage.

    Errors of drivers may quote personal data that they refused: only their type is named.
    """
    import asyncpg
    from aiokafka.errors import KafkaError

    kind = type(error).__name__
    if isinstance(error, KafkaError):
        return f"Kafka does not answer as it should ({kind})"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return f"PostgreSQL does not let us in ({kind}): the passwords in endpoints.json are not its own"
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        return f"PostgreSQL does not answer as it should ({kind})"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "no room is left on a disk: make room and do it again"
    if isinstance(error, ConnectionError | TimeoutError) or (isinstance(error, OSError) and error.filename is None):
        return f"a part of the platform cannot be reached ({kind})"
    return None


def _help() -> None:
    table = Table.grid(padding=(0, 3))
    for name, summary in COMMANDS.items():
        table.add_row(f"  {name}", summary)
    console = Console()
    console.print("Usage: mille COMMAND [OPTIONS]\n\nCommands (each explains itself with --help):")
    console.print(table)

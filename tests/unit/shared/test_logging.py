"""Log lines of a process: one JSON object each, without the texts of exceptions."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

PLANTED = "ana.planted@example.org"


def _log_lines(program: str) -> list[dict[str, Any]]:
    """Return the log lines of a process that configures its logs and then runs `program`."""
    prelude = "import asyncio, logging\nfrom shared.logging import configure, log\n"
    code = f"{prelude}configure('petitions', 'intake', 'json')\n{program}"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert PLANTED not in completed.stdout
    return [json.loads(line) for line in completed.stdout.splitlines()]


def test_a_line_is_one_json_object_bound_to_its_service() -> None:
    (line,) = _log_lines("log.info('partition assigned', topic='t', partition=3, offset=17)")
    assert (line["service"], line["role"], line["level"]) == ("petitions", "intake", "info")
    assert (line["message"], line["topic"], line["partition"], line["offset"]) == ("partition assigned", "t", 3, 17)


def test_an_exception_is_logged_by_type_and_place_not_by_what_it_quotes() -> None:
    lines = _log_lines(
        "def read():\n"
        "    try:\n"
        f"        raise ValueError('{PLANTED}')\n"
        "    except ValueError:\n"
        "        log.exception('cannot read a record')\n"
        "        logging.getLogger('some.library').exception('library failed')\n"
        "read()\n"
    )
    assert [line["message"] for line in lines] == ["cannot read a record", "library failed"]
    for line in lines:
        assert line["failure"]["type"] == "ValueError"
        assert line["failure"]["at"][-1].endswith("read")


def test_an_unretrieved_task_does_not_tell_what_its_exception_quotes() -> None:
    lines = _log_lines(
        "async def fail():\n"
        f"    raise ValueError('{PLANTED}')\n"
        "async def main():\n"
        "    task = asyncio.create_task(fail())\n"
        "    await asyncio.wait([task])\n"
        "asyncio.run(main())\n"
    )
    assert [line["message"] for line in lines] == ["Task exception was never retrieved"]


def test_what_is_tried_again_is_named_without_its_arguments() -> None:
    (line,) = _log_lines(
        "import stamina\n"
        "tried = []\n"
        "@stamina.retry(on=OSError, attempts=2, wait_initial=0, wait_jitter=0)\n"
        "def connect(address, *, password):\n"
        "    tried.append(address)\n"
        "    if len(tried) == 1:\n"
        f"        raise OSError('{PLANTED}')\n"
        f"connect('postgresql://x:{PLANTED}@db/x', password='{PLANTED}')\n"
    )
    assert (line["message"], line["what"], line["attempt"]) == ("trying again", "__main__.connect", 1)
    assert line["failure"] == "OSError"

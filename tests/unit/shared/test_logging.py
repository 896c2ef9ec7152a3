"""Log lines of a process: one JSON object each, and never what an exception quotes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

PLANTED = "ana.planted@example.org"


def _logged(program: str) -> list[dict[str, Any]]:
    """The log lines of a process that configures its logs and then runs `program`."""
    prelude = "import asyncio, logging\nfrom shared.logging import configure, log\n"
    configured = f"{prelude}configure('petitions', 'intake', 'json')\n{program}"
    ended = subprocess.run([sys.executable, "-c", configured], capture_output=True, text=True, timeout=60, check=True)
    assert PLANTED not in ended.stdout
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_a_line_is_one_json_object_bound_to_its_service() -> None:
    (line,) = _logged("log.info('partition assigned', topic='t', partition=3, offset=17)")
    assert (line["service"], line["role"], line["level"]) == ("petitions", "intake", "info")
    assert (line["message"], line["topic"], line["partition"], line["offset"]) == ("partition assigned", "t", 3, 17)


def test_an_exception_is_logged_by_type_and_place_not_by_what_it_quotes() -> None:
    lines = _logged(
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
    lines = _logged(
        "async def fail():\n"
        f"    raise ValueError('{PLANTED}')\n"
        "async def main():\n"
        "    task = asyncio.create_task(fail())\n"
        "    await asyncio.wait([task])\n"
        "asyncio.run(main())\n"
    )
    assert [line["message"] for line in lines] == ["Task exception was never retrieved"]


def test_what_is_tried_again_is_named_without_its_arguments() -> None:
    (line,) = _logged(
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

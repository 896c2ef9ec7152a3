"""Runs `mille` commands as a person would."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from deploy.demo.sender import DemoError

LIMIT_SECONDS: Final = 600


class Mille:
    """The `mille` command against the platform of `home`."""

    def __init__(self, home: Path) -> None:
        self._environment = {**os.environ, "MILLE_HOME": str(home)}

    async def output(self, *arguments: str) -> str:
        """What the command printed.

        Raises:
            DemoError: it failed; with what it printed.
        """
        code, output = await self.outcome(*arguments)
        if code:
            raise DemoError(f"`mille {' '.join(arguments[:2])}` ended with {code}:\n{output}")
        return output

    async def outcome(self, *arguments: str) -> tuple[int, str]:
        """The command's exit status and what it printed.

        Raises:
            TimeoutError: it did not end within ten minutes.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deploy.mille",
            *arguments,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode(errors="replace").strip()

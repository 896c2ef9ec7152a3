"""Run `mille` commands as a person would."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from deploy.demo.sender import DemoError

TIMEOUT_SECONDS: Final = 600


class Mille:
    """The `mille` command against the platform of `home`."""

    def __init__(self, home: Path) -> None:
        self._environment = {**os.environ, "MILLE_HOME": str(home)}

    async def output(self, *arguments: str) -> str:
        """Run the command and return its output.

        Raises:
            DemoError: it failed; the message quotes its output.
        """
        code, output = await self.run(*arguments)
        if code:
            raise DemoError(f"`mille {' '.join(arguments[:2])}` ended with {code}:\n{output}")
        return output

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run the command and return its exit status and output.

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
            async with asyncio.timeout(TIMEOUT_SECONDS):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode(errors="replace").strip()

"""The command `rhopush` as a process of its own."""

import asyncio
import sys
from pathlib import Path
from typing import Final

RUN: Final = "import sys; from gateway.cli import main; sys.exit(main())"
"""The program: it needs no installed script."""


async def rhopush(folder: Path, *words: str, **environ: str) -> tuple[int | None, str, str]:
    """Run the command in a folder, with these words and environment variables alone.

    Returns:
        Exit status, output and error output.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, *words),
        cwd=folder,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()

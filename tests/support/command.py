"""The command `rhopush` in the test's own process."""

import asyncio
import contextlib
import io
import os
from pathlib import Path
from typing import Final
from unittest import mock

from gateway.cli import main

RUN: Final = "import sys; from gateway.cli import main; sys.exit(main())"
"""The program for a process of its own: it needs no installed script."""


async def rhopush(folder: Path, *words: str, **environ: str) -> tuple[int, str, str]:
    """Run the command in a folder, with these words and environment variables alone.

    Returns:
        Exit status, output and error output.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, environ, clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = await asyncio.wait_for(asyncio.to_thread(_status, words), 60)
    return status, out.getvalue(), err.getvalue()


def _status(words: tuple[str, ...]) -> int:
    try:
        return main(words)
    except SystemExit as end:  # argparse
        return int(str(end.code))

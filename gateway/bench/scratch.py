"""A folder for one measurement."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder with a path short enough for a unix socket, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="rhobench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""Temporary folder for one measurement."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.bench.errors import CannotMeasure


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder with a path short enough for a unix socket, removed afterwards.

    Raises:
        CannotMeasure: no folder can be created.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="rhobench-"))
    except OSError as error:
        raise CannotMeasure(f"no temporary folder: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""Fixtures of the fault tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for a unix socket's name (at most 107 characters)."""
    folder = Path(tempfile.mkdtemp(prefix="rhopush-"))
    yield folder
    shutil.rmtree(folder)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "settings(**said): settings of this test's gateway that differ from the defaults"
    )

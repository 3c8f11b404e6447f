"""The folder of one measurement."""

import tempfile
from pathlib import Path

import pytest

from gateway.bench.errors import CannotMeasure
from gateway.bench.scratch import scratch


def test_the_folder_is_removed_with_its_content() -> None:
    with scratch() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
        assert len(str(folder)) < 80  # room for the path of a Unix socket
    assert not folder.exists()


def test_the_folder_is_removed_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), scratch() as folder:
        raise ZeroDivisionError
    assert not folder.exists()


def test_without_a_folder_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(CannotMeasure, match="no temporary folder: No such file or directory"), scratch():
        pass

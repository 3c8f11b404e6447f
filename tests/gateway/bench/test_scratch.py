"""The folder of one measurement."""

import tempfile
from pathlib import Path

import pytest

from gateway.bench.errors import CannotMeasure
from gateway.bench.scratch import scratch


def test_it_goes_with_all_that_is_in_it() -> None:
    with scratch() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
        assert len(str(folder)) < 80  # room for the path of a Unix socket
    assert not folder.exists()


def test_it_goes_after_a_failure_too() -> None:
    with pytest.raises(ZeroDivisionError), scratch() as folder:
        raise ZeroDivisionError
    assert not folder.exists()


def test_where_none_can_be_made_there_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(CannotMeasure, match="no temporary folder: No such file or directory"), scratch():
        pass

"""The data folder: one gateway at a time, and what is kept in it."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from gateway.compose import folder as folder_module
from gateway.compose.folder import DataFolder, FolderInUse


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "data"


def test_a_second_gateway_is_refused_and_told_by_whom(path: Path) -> None:
    first, second = DataFolder(path), DataFolder(path)
    first.lock()
    with pytest.raises(FolderInUse, match=rf"another gateway runs on .*data \(process {os.getpid()}\)"):
        second.lock()
    first.release()
    second.release()
    second.lock()
    second.release()


def test_a_successor_waits_for_the_last_worker(path: Path) -> None:
    first = DataFolder(path)
    first.lock()
    worker = subprocess.Popen(["sleep", "0.3"], pass_fds=(first.workers_fd,))
    first.release()
    successor = DataFolder(path)
    successor.lock()
    assert worker.wait() == 0
    successor.release()


def test_workers_that_do_not_end_are_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "_WORKERS_BUDGET_S", 0.1)
    first = DataFolder(path)
    first.lock()
    with subprocess.Popen(["sleep", "60"], pass_fds=(first.workers_fd,)) as worker:
        first.release()
        successor = DataFolder(path)
        with pytest.raises(FolderInUse, match="workers of an earlier gateway still run"):
            successor.lock()
        successor.release()
        worker.kill()


def test_id_and_token_are_made_once_for_their_owner_alone(path: Path) -> None:
    folder = DataFolder(path)
    folder.lock()
    gateway_id, token = folder.gateway_id(), folder.api_token()
    assert (len(gateway_id), len(token)) == (16, 64)
    assert (folder.gateway_id(), folder.api_token()) == (gateway_id, token)
    assert stat.S_IMODE((path / "api_token").stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    folder.release()


def test_an_empty_file_is_no_id(path: Path) -> None:
    folder = DataFolder(path)
    folder.lock()
    (path / "gateway_id").write_text("")
    assert len(folder.gateway_id()) == 16
    folder.release()


def test_counts_of_an_earlier_run_are_gone(path: Path) -> None:
    folder = DataFolder(path)
    folder.lock()
    (folder.fresh_metrics() / "counter_1.db").write_text("old")
    assert list(folder.fresh_metrics().iterdir()) == []
    folder.release()


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(FolderInUse, match="cannot be used"):
            DataFolder(path).lock()
        with pytest.raises(FolderInUse, match="cannot be used"):
            DataFolder(path).probe()
    DataFolder(tmp_path / "new" / "data").probe()
    assert not (tmp_path / "new").exists()

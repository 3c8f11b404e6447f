"""The data folder: one gateway at a time, and what is kept in it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.server import data_dir as data_dir_module
from gateway.server.data_dir import DataDir, DataDirInUse


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "data"


def test_a_second_gateway_is_refused_with_the_process_id_of_the_first(path: Path) -> None:
    first, second = DataDir(path), DataDir(path)
    first.lock()
    with pytest.raises(DataDirInUse, match=rf"another gateway runs on .*data \(process {os.getpid()}\)"):
        second.lock()
    first.release()
    second.release()
    second.lock()
    second.release()


def test_a_successor_waits_for_the_last_worker(path: Path) -> None:
    first = DataDir(path)
    first.lock()
    worker = subprocess.Popen(["sleep", "0.3"], pass_fds=(first.workers_fd,))
    first.release()
    successor = DataDir(path)
    successor.lock()
    assert worker.wait() == 0
    successor.release()


def test_workers_that_do_not_end_are_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_dir_module, "_WORKERS_BUDGET_S", 0.1)
    first = DataDir(path)
    first.lock()
    with subprocess.Popen(["sleep", "60"], pass_fds=(first.workers_fd,)) as worker:
        first.release()
        successor = DataDir(path)
        with pytest.raises(DataDirInUse, match="workers of an earlier gateway still run"):
            successor.lock()
        successor.release()
        worker.kill()


def test_id_and_token_are_made_once_for_their_owner_alone(path: Path) -> None:
    folder = DataDir(path)
    folder.lock()
    gateway_id, token = folder.gateway_id(), folder.api_token()
    assert (len(gateway_id), len(token)) == (16, 64)
    assert (folder.gateway_id(), folder.api_token()) == (gateway_id, token)
    assert stat.S_IMODE((path / "api_token").stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    folder.release()


def test_an_empty_file_is_no_id(path: Path) -> None:
    folder = DataDir(path)
    folder.lock()
    (path / "gateway_id").write_text("")
    assert len(folder.gateway_id()) == 16
    folder.release()


def test_the_metrics_folder_of_earlier_versions_is_removed(path: Path) -> None:
    folder = DataDir(path)
    folder.lock()
    folder.remove_old_metrics()
    (path / "metrics").mkdir()
    (path / "metrics" / "counter_1.db").write_text("old")
    folder.remove_old_metrics()
    assert not (path / "metrics").exists()
    (path / "metrics").write_text("a file in its place is left")
    folder.remove_old_metrics()
    folder.release()


@pytest.mark.parametrize("name", ["gateway_id", "api_token"])
@pytest.mark.parametrize("what", ["a folder", "no text"])
def test_an_unreadable_file_is_named(path: Path, name: str, what: str) -> None:
    folder = DataDir(path)
    folder.lock()
    if what == "a folder":
        (path / name).mkdir()
    else:
        (path / name).write_bytes(b"\xff\xfe")
    with pytest.raises(DataDirInUse, match=f"{name} cannot be used"):
        getattr(folder, name)()
    folder.release()


FULL_DISK = """
import resource, sys
from pathlib import Path
from gateway.server.data_dir import DataDir, DataDirInUse
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file takes a byte
folder = DataDir(Path(sys.argv[1]))
folder.lock()
for make in (folder.gateway_id, folder.api_token):
    try:
        make()
    except DataDirInUse as error:
        print(error)
"""


def test_on_a_full_disk_the_lock_works_and_unwritable_files_are_named(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        f"{path}/{name} cannot be used: File too large" for name in ("gateway_id", "api_token")
    ]


def test_a_folder_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(DataDirInUse, match="cannot be used"):
            DataDir(path).lock()
        with pytest.raises(DataDirInUse, match="cannot be used"):
            DataDir(path).probe()
    DataDir(tmp_path / "new" / "data").probe()
    assert not (tmp_path / "new").exists()

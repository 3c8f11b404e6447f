"""The embedded store: one server for each folder, and its data survives the end of its parent."""

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gateway.errors import StoreDown
from gateway.store import embedded
from gateway.store.embedded import EmbeddedStore

STARTER = """
import os, signal, sys
from pathlib import Path
from gateway.store.embedded import EmbeddedStore
store = EmbeddedStore(Path(sys.argv[1]))
store.start()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a store; any server on it is ended afterwards."""
    yield tmp_path / "valkey"
    if (tmp_path / "valkey").exists():
        store = EmbeddedStore(tmp_path / "valkey")
        store.stop()


def connect(store: EmbeddedStore) -> redis.Redis:
    return redis.Redis(unix_socket_path=store.address.unix_path or "")


def pid_of(store: EmbeddedStore) -> int:
    with connect(store) as client:
        return int(client.info("server")["process_id"])


def ended(pid: int) -> bool:
    """Whether a process has ended, or only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def orphaned(folder: Path) -> None:
    """A server on `folder` whose parent was killed with -9."""
    subprocess.run([sys.executable, "-c", STARTER, str(folder)], check=False, timeout=60)


def test_a_stopped_store_restarts_with_its_data(folder: Path) -> None:
    store = EmbeddedStore(folder)
    store.start()
    assert store.adopted is False
    with connect(store) as client:
        client.set("key", "value")
        assert client.config_get("port")["port"] == "0"
        assert client.config_get("appendonly")["appendonly"] == "yes"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    store.stop()
    again = EmbeddedStore(folder)
    again.start()
    with connect(again) as client:
        assert client.get("key") == b"value"
    again.stop()


def test_only_its_owner_may_connect(folder: Path) -> None:
    store = EmbeddedStore(folder)
    store.start()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(store.address.unix_path or "").stat().st_mode) == 0o600
    store.stop()


def test_the_orphan_of_a_killed_parent_is_adopted(folder: Path) -> None:
    orphaned(folder)
    store = EmbeddedStore(folder, "always")
    with connect(store) as client:
        client.set("key", "value")
    before = pid_of(store)
    store.start()
    assert store.adopted is True
    assert pid_of(store) == before
    with connect(store) as client:
        assert client.get("key") == b"value"
        assert client.config_get("appendfsync")["appendfsync"] == "always"
    store.stop()
    assert ended(before)


def test_no_second_server_is_started_on_a_folder(folder: Path) -> None:
    store = EmbeddedStore(folder)
    store.start()
    before = pid_of(store)
    assert store.restart() is False
    assert EmbeddedStore(folder).restart() is False
    assert pid_of(store) == before
    store.stop()


def test_a_killed_server_is_restarted_with_its_data(folder: Path) -> None:
    store = EmbeddedStore(folder, "always")
    store.start()
    with connect(store) as client:
        client.set("key", "value")
    first = pid_of(store)
    os.kill(first, signal.SIGKILL)
    while not store.restart():  # the kernel releases the lock when the process has ended
        time.sleep(0.01)
    store.start()
    assert pid_of(store) != first
    with connect(store) as client:
        assert client.get("key") == b"value"
    store.stop()


def test_the_server_that_is_ending_is_waited_for_and_not_adopted(folder: Path) -> None:
    folder.mkdir(parents=True)
    blocker = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(blocker, fcntl.LOCK_EX)  # like a server that is shutting down: it has the lock and no socket
    freed = subprocess.Popen(["sleep", "0.3"], pass_fds=(blocker,))
    os.close(blocker)
    store = EmbeddedStore(folder)
    store.start()
    assert freed.wait() == 0
    assert store.adopted is False
    store.stop()


def test_a_deep_folder_has_its_socket_elsewhere(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / ("deep" * 30) / "valkey")
    store.start()
    path = Path(store.address.unix_path or "")
    assert len(str(path)) < 104
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with connect(store) as client:
        assert client.ping() is True
    store.stop()


def test_a_server_that_cannot_start_reports_the_reason(folder: Path) -> None:
    (folder / "appendonlydir").mkdir(parents=True)
    (folder / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    store = EmbeddedStore(folder)
    with pytest.raises(StoreDown, match=r"ended during its start: .+"):
        store.start()


def test_a_folder_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreDown, match="cannot be used: File exists"):
        EmbeddedStore(tmp_path / "file").start()


def test_a_platform_without_a_server_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(StoreDown, match="no embedded store for this platform"):
        EmbeddedStore(folder).start()


@pytest.fixture
def occupied(folder: Path) -> Iterator[Path]:
    """A folder whose lock is held by a process that is not a server."""
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def test_a_loading_server_may_take_longer_than_an_unresponsive_one(
    occupied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "START_BUDGET_S", 0.1)
    answers = [b"-LOADING Valkey is loading the dataset in memory\r\n"] * 20 + [b"+PONG\r\n", b"+OK\r\n"]
    asked: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(64))
                connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(occupied / "valkey.sock"))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        store = EmbeddedStore(occupied)
        store.start()
        thread.join()
    assert store.adopted is True
    assert asked == [b"PING\r\n"] * 21 + [b"CONFIG SET appendfsync everysec\r\n"]


def test_an_unresponsive_server_is_reported(occupied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "START_BUDGET_S", 0.1)
    with pytest.raises(StoreDown, match=r"did not answer in"):
        EmbeddedStore(occupied).start()


def test_the_wait_can_be_cancelled(occupied: Path) -> None:
    with pytest.raises(StoreDown, match="the start was interrupted"):
        EmbeddedStore(occupied).start(cancelled=lambda: True)

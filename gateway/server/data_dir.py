"""The data folder: the files that one gateway keeps on this machine, and the locks on them.

The folder has two locks with separate purposes. The supervisor alone holds `supervisor.lock`: a second `serve` on the
folder is refused immediately. Every worker inherits `workers.lock`: after `kill -9` of the supervisor, a new supervisor
waits until the last worker of the old one has ended, since two workers with one name would share one consumer.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.errors import RhoPushError
from gateway.system.pause import pause
from gateway.system.private_files import check_folder, open_lock, read_secret, refuse_link, write_secret

_WORKERS_BUDGET_S: Final = 15.0
ID_FILE: Final = "rps_secret"
"""Copy of the secret of RhoConnect Push ids (`gateway.server.id_secret`)."""
_NAMES: Final = ("supervisor.lock", "workers.lock", "gateway_id", "api_token", ID_FILE, "valkey")
"""Names of the files and folders that the gateway keeps in the data folder."""
_POLL_S: Final = 0.05


class DataDirInUse(RhoPushError):
    """Another gateway runs on the data folder, or the folder cannot be used."""

    code = "data_dir_in_use"
    label = "data_dir_in_use"


class DataDir:
    """One data folder. Locks live as long as their descriptors: a close, or the end of the process, releases them.

    Args:
        path: the folder; `lock` creates it if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._supervisor_fd = -1
        self.workers_fd = -1

    def lock(self) -> None:
        """Acquire the folder for one supervisor.

        Raises:
            DataDirInUse: another supervisor holds the folder, its workers do not end, or the folder is not writable.
            UnsafeFile: other users can write to the folder, or it is or contains a symbolic link.
        """
        check_folder(self.path)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_folder(self.path)
            self._supervisor_fd = self._open("supervisor.lock")
            self.workers_fd = self._open("workers.lock")
        except OSError as error:
            raise DataDirInUse(f"{self.path} cannot be used: {error.strerror}") from error
        if not _locked(self._supervisor_fd):
            pid = os.pread(self._supervisor_fd, 32, 0).decode("utf-8", "replace").strip() or "unknown"
            raise DataDirInUse(f"another gateway runs on {self.path} (process {pid})")
        self._write_pid()
        deadline_s = time.monotonic() + _WORKERS_BUDGET_S
        while not _locked(self.workers_fd):
            if time.monotonic() > deadline_s:
                raise DataDirInUse(f"workers of an earlier gateway still run on {self.path}")
            pause(_POLL_S)

    def in_use(self) -> bool:
        """Return whether a gateway runs on this folder now."""
        try:
            descriptor = os.open(self.path / "supervisor.lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            return not _locked(descriptor)
        finally:
            os.close(descriptor)

    def _write_pid(self) -> None:
        """Write the process id of the holder into the lock file. On a full disk the lock holds without it."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._supervisor_fd, 0)
            os.pwrite(self._supervisor_fd, f"{os.getpid()}\n".encode(), 0)

    def probe(self) -> None:
        """Check that this user can use the folder, or create it.

        Raises:
            DataDirInUse: the folder is not writable.
            UnsafeFile: as `lock`.
        """
        check_data_dir(self.path)
        nearest = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise DataDirInUse(f"{self.path} cannot be used: {nearest} cannot be written")

    def _open(self, name: str) -> int:
        return open_lock(self.path / name)

    def check_kept(self, *, token: bool) -> None:
        """Read the files that `gateway_id` and, with `token`, `api_token` read, without creating them.

        Raises:
            DataDirInUse: a file cannot be read, or is not text.
            UnsafeFile: a file is a symbolic link, or other users can write it.
        """
        self._read(self.path / "gateway_id")
        if token:
            self._read(self.path / "api_token")

    def release(self) -> None:
        """Release the folder."""
        for descriptor in (self.workers_fd, self._supervisor_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._supervisor_fd = self.workers_fd = -1

    def gateway_id(self) -> str:
        """Return this gateway's name among those that share a Redis, created once."""
        return self._read_or_create("gateway_id", lambda: secrets.token_hex(8))

    def api_token(self) -> str:
        """Return the generated API token, which is used if the settings have none. Its file is readable by its owner
        alone."""
        return self._read_or_create("api_token", lambda: secrets.token_hex(32))

    def _read_or_create(self, name: str, make: Callable[[], str]) -> str:
        """Return the content of a file, which is created if it is missing or empty.

        Raises:
            DataDirInUse: the file cannot be read or written, or is not text.
            UnsafeFile: the file is a symbolic link, or other users can write it.
        """
        file = self.path / name
        kept = self._read(file)
        if kept:
            return kept
        made = make()
        try:
            write_secret(file, made.encode() + b"\n")
        except OSError as error:
            raise DataDirInUse(f"{file} cannot be used: {error.strerror}") from error
        return made

    def _read(self, file: Path) -> str:
        """Return the content of a file; "" if it is missing or empty. Raises as `_read_or_create`."""
        try:
            return (read_secret(file) or b"").decode().strip()
        except OSError as error:
            raise DataDirInUse(f"{file} cannot be used: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise DataDirInUse(f"{file} cannot be used: it is not text") from error

    def remove_old_metrics(self) -> None:
        """Remove the metrics folder of earlier versions, if possible. Nothing depends on it."""
        shutil.rmtree(self.path / "metrics", ignore_errors=True)


def check_data_dir(path: Path) -> None:
    """Check the permissions of a data folder and of its files, without changing them.

    Raises:
        UnsafeFile: other users can write to one of them, or one is a symbolic link; the first such path.
    """
    check_folder(path)
    for name in _NAMES:
        refuse_link(path / name)
    with contextlib.suppress(OSError):  # reported when the file is used
        read_secret(path / "api_token")
        read_secret(path / ID_FILE)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

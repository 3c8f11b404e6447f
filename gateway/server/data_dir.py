"""The data folder: what one gateway keeps on this machine, and who may use it.

Two locks, because two questions are asked of them. `supervisor.lock` is held by the supervisor alone: a
second `serve` on the folder is refused at once. `workers.lock` is handed down to every worker: after the
supervisor's `kill -9`, a successor waits until the last worker of the old one is gone, since two workers of
one name would share one consumer.
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
"""What the gateway keeps in the folder."""
_POLL_S: Final = 0.05


class DataDirInUse(RhoPushError):
    """Another gateway runs on the data folder, or the folder cannot be used."""

    code = "data_dir_in_use"
    label = "data_dir_in_use"


class DataDir:
    """One data folder. Locks live as long as their descriptors: closing, or the end of the process, frees
    them.

    Args:
        path: the folder; made by `lock` if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._supervisor_fd = -1
        self.workers_fd = -1

    def lock(self) -> None:
        """Become the one supervisor of this folder.

        Raises:
            FolderInUse: another one is, its workers do not end, or the folder cannot be written.
            UnsafeFile: other users may write into it, or a symbolic link stands in its place or in it.
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
        """Whether a gateway runs on this folder now."""
        try:
            descriptor = os.open(self.path / "supervisor.lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            return not _locked(descriptor)
        finally:
            os.close(descriptor)

    def _write_pid(self) -> None:
        """Say who holds the lock. A full disk takes no number, and the lock holds without one."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._supervisor_fd, 0)
            os.pwrite(self._supervisor_fd, f"{os.getpid()}\n".encode(), 0)

    def probe(self) -> None:
        """Whether the folder could be used, by this user, now or once it is made.

        Raises:
            FolderInUse: it cannot be written.
            UnsafeFile: as `lock`.
        """
        check_data_dir(self.path)
        nearest = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise DataDirInUse(f"{self.path} cannot be used: {nearest} cannot be written")

    def _open(self, name: str) -> int:
        return open_lock(self.path / name)

    def check_kept(self, *, token: bool) -> None:
        """Read what `gateway_id` and, with `token`, `api_token` read, without making it.

        Raises:
            FolderInUse: a file cannot be read, or is no text.
            UnsafeFile: a symbolic link stands in its place, or others may write it.
        """
        self._read(self.path / "gateway_id")
        if token:
            self._read(self.path / "api_token")

    def release(self) -> None:
        """Give the folder up."""
        for descriptor in (self.workers_fd, self._supervisor_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._supervisor_fd = self.workers_fd = -1

    def gateway_id(self) -> str:
        """This gateway's name among those that share a Redis: made once, then kept."""
        return self._read_or_create("gateway_id", lambda: secrets.token_hex(8))

    def api_token(self) -> str:
        """The API token of a gateway whose settings name none: made once, then kept, for its owner alone."""
        return self._read_or_create("api_token", lambda: secrets.token_hex(32))

    def _read_or_create(self, name: str, make: Callable[[], str]) -> str:
        """The content of a file; made where it is missing or empty.

        Raises:
            FolderInUse: the file cannot be read or written, or is no text.
            UnsafeFile: a symbolic link stands in its place, or others may write it.
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
        """The content of a file; "" where it is missing or empty. Raises as `_read_or_create`."""
        try:
            return (read_secret(file) or b"").decode().strip()
        except OSError as error:
            raise DataDirInUse(f"{file} cannot be used: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise DataDirInUse(f"{file} cannot be used: it is no text") from error

    def remove_old_metrics(self) -> None:
        """Remove the metrics folder of earlier versions, if that can be done. Nothing depends on it."""
        shutil.rmtree(self.path / "metrics", ignore_errors=True)


def check_data_dir(path: Path) -> None:
    """Look at a data folder and at what the gateway keeps in it, without changing anything.

    Raises:
        UnsafeFile: other users may write into it, or a symbolic link stands in its place or in it; the first such.
    """
    check_folder(path)
    for name in _NAMES:
        refuse_link(path / name)
    with contextlib.suppress(OSError):  # told when it is needed
        read_secret(path / "api_token")
        read_secret(path / ID_FILE)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

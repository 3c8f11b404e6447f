"""Delivery of messages to a file with one JSON text per line; a long file is renamed, and a new one begun.

Several workers, and several endpoints, may write the same file. Each line is written, and each file renamed, under an
exclusive lock of the file itself (flock). The current file is renamed last, so that nobody can lock its successor
before the earlier files have their new names.
"""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from protocols.webhooks.attempts import DELIVERED, DeliveryAttempt, failed
from protocols.webhooks.events import Message

FILE_BYTES: Final = 64 * 1024 * 1024
"""Length in bytes from which a file is renamed with the suffix `.1`, and a new one begins."""
KEPT_FILES: Final = 4
"""Number of earlier files that are kept: `.1` is the newest."""
LOCK_S: Final = 5.0
"""Longest wait for a lock on the file. A wait without end would block a thread and the end of the process."""
_LOCK_PAUSE_S: Final = 0.005
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
"""Errors of file systems without locks."""
_APPEND: Final = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
)
"""`O_NONBLOCK`: otherwise the open of a named pipe without a reader blocks a thread and the end of the process."""


class FileSink:
    """A file on the machine of the gateway that delivers.

    Args:
        path: the file, which must be a regular one; its folder must exist.
        most_bytes: see `FILE_BYTES`.
    """

    def __init__(self, path: Path, most_bytes: int = FILE_BYTES) -> None:
        self._path = path
        self._most_bytes = most_bytes

    async def send(self, message: Message) -> DeliveryAttempt:
        """Append a line and write it to the disk."""
        value = {"id": message.id, **json.loads(message.body())}
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            await asyncio.to_thread(self._write, line)
        except OSError as error:
            return failed(f"{self._path}: {error.strerror or 'cannot be written'}")
        return DELIVERED

    async def close(self) -> None:
        """Do nothing: no file stays open."""

    def _write(self, line: bytes) -> None:
        with self._locked() as descriptor:
            size = os.fstat(descriptor).st_size
            try:
                left = line
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)  # an incomplete line would damage the next one
                raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Open and lock the file; if it is long, rename it and begin a new one.

        Raises:
            OSError: the file cannot be opened or renamed, is not a regular one, or stays locked for `LOCK_S`.
        """
        until_s = time.monotonic() + LOCK_S
        while True:
            descriptor = os.open(self._path, _APPEND, 0o600)
            try:
                if self._is_ready(descriptor, until_s):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)  # this also ends the lock

    def _is_ready(self, descriptor: int, until_s: float) -> bool:
        """Lock an open file; False: it is no longer the current one."""
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        _lock(descriptor, until_s)
        about = os.fstat(descriptor)
        try:
            if not os.path.samestat(about, self._path.lstat()):
                return False  # another writer has renamed it
        except FileNotFoundError:
            return False
        if about.st_size < self._most_bytes:
            return True
        self._rename()
        return False

    def _rename(self) -> None:
        """Rename each earlier file, then the current one."""
        for number in range(KEPT_FILES, 0, -1):
            older = self._numbered(number - 1) if number > 1 else self._path
            if older.exists():
                older.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _lock(descriptor: int, until_s: float) -> None:
    """Lock a file exclusively, as far as its file system has locks.

    Raises:
        OSError: it was still locked at `until_s`, on the monotonic clock.
    """
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until_s:
                raise OSError(errno.EAGAIN, "locked by another process") from error
            time.sleep(_LOCK_PAUSE_S)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return
        else:
            return

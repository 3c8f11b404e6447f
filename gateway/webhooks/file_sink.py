"""Delivery of messages to a file with one JSON text per line; a long file is renamed, and a new one begun."""

import asyncio
import errno
import json
import os
import stat
from pathlib import Path
from typing import Final

from protocols.webhooks.attempts import DELIVERED, DeliveryAttempt, failed
from protocols.webhooks.events import Message

FILE_BYTES: Final = 64 * 1024 * 1024
"""Length in bytes from which a file is renamed with the suffix `.1`, and a new one begins."""
KEPT_FILES: Final = 4
"""Number of earlier files that are kept: `.1` is the newest."""
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
        self._rotate()
        descriptor = os.open(self._path, _APPEND, 0o600)
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            try:
                left = line
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, about.st_size)  # an incomplete line would damage the next one
                raise
        finally:
            os.close(descriptor)

    def _rotate(self) -> None:
        """If the file is long, rename it and each earlier one."""
        try:
            if self._path.stat().st_size < self._most_bytes:
                return
        except FileNotFoundError:
            return
        for number in range(KEPT_FILES, 0, -1):
            older = self._numbered(number - 1) if number > 1 else self._path
            if older.exists():
                older.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
